"""Opens whatever a user names as the source of frames: a camera, a stream, a clip, a folder or an image."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path

import cv2

from cvforge_edge.errors import SourceError
from cvforge_edge.sources.image_files import IMAGE_SUFFIXES, ImageFiles
from cvforge_edge.sources.live import Capture, LiveSource
from cvforge_edge.sources.source import Source
from cvforge_edge.sources.video_file import VideoFile

STREAM_SCHEMES = ("rtsp", "rtsps", "rtmp", "http", "https", "udp", "tcp")
CONNECT_TIMEOUT_MS = 5000
READ_TIMEOUT_MS = 5000
ACCEPTED = (
    "Accepted: a camera number (0), a camera device (/dev/video0), a stream (rtsp://host/path; also "
    f"{', '.join(STREAM_SCHEMES[1:])}), a video file, an image, or a folder of images"
)
_SECRET = re.compile(r"(?<=://)([^/@:]*):[^/@]*@")


def open_source(text: str, *, reconnect_for_s: float = math.inf) -> Source:
    """The source that a user names.

    Args:
        text: camera number, `/dev/videoN`, stream address, or path of a video, an image or a folder of images.
        reconnect_for_s: how long a lost camera or stream is tried again before the source gives up.

    Raises:
        SourceError: there is nothing of that name, or it cannot be opened.
    """
    kind = source_kind(text)
    if kind in LIVE_OPENERS:
        return LiveSource(without_password(text), LIVE_OPENERS[kind](text), reconnect_for_s=reconnect_for_s)
    return FILE_OPENERS[kind](Path(text))


def source_kind(text: str) -> str:
    """What a source's name stands for: `device`, `stream`, `folder`, `image` or `video`.

    Raises:
        SourceError: it is none of them.
    """
    if text.isdecimal() or text.startswith("/dev/video"):
        return "device"
    scheme, separator, _ = text.partition("://")
    if separator:
        if scheme.lower() in STREAM_SCHEMES:
            return "stream"
        raise SourceError(f"{without_password(text)}: unknown kind of stream {scheme!r}. {ACCEPTED}")
    path = Path(text)
    if path.is_dir():
        return "folder"
    if not path.exists():
        raise SourceError(f"{text}: no such file, folder or camera. {ACCEPTED}")
    return "image" if path.suffix.lower() in IMAGE_SUFFIXES else "video"


def without_password(address: str) -> str:
    """A stream's address that may be logged and saved.

    >>> without_password("rtsp://admin:secret@10.0.0.7/main")
    'rtsp://admin:***@10.0.0.7/main'
    """
    return _SECRET.sub(r"\1:***@", address)


def _device_opener(text: str) -> Callable[[], Capture]:
    def open_device() -> Capture:
        capture = cv2.VideoCapture(int(text)) if text.isdecimal() else cv2.VideoCapture(text)
        capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # a driver's queue would hand out old frames
        return capture

    return open_device


def _stream_opener(address: str) -> Callable[[], Capture]:
    limits = [
        cv2.CAP_PROP_OPEN_TIMEOUT_MSEC,
        CONNECT_TIMEOUT_MS,
        cv2.CAP_PROP_READ_TIMEOUT_MSEC,
        READ_TIMEOUT_MS,
    ]
    return lambda: cv2.VideoCapture(address, cv2.CAP_FFMPEG, limits)


LIVE_OPENERS = {"device": _device_opener, "stream": _stream_opener}
FILE_OPENERS: dict[str, Callable[[Path], Source]] = {"video": VideoFile, "image": ImageFiles, "folder": ImageFiles}
