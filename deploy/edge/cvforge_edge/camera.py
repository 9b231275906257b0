"""Opens whatever a user names as the source of frames: a camera, a stream, a clip, a folder, an image or a test pattern."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from cvforge_edge.address_secrets import address_without_secrets, pipeline_without_secrets
from cvforge_edge.errors import SourceError
from cvforge_edge.sources import gstreamer, pattern, picamera
from cvforge_edge.sources.cadence import Cadence
from cvforge_edge.sources.capture import OpenCapture
from cvforge_edge.sources.device import CameraRequest, device_opener
from cvforge_edge.sources.image_files import IMAGE_SUFFIXES, ImageFiles
from cvforge_edge.sources.limits import LiveLimits
from cvforge_edge.sources.live import LiveSource
from cvforge_edge.sources.source import Source
from cvforge_edge.sources.stream import RtspTransport, stream_opener
from cvforge_edge.sources.video_file import VideoFile

STREAM_SCHEMES = ("rtsp", "rtsps", "rtmp", "http", "https", "udp", "tcp")
ACCEPTED = (
    "Accepted: a camera number (0), a camera device (/dev/video0), picamera, a stream (rtsp://host/path; also "
    f"{', '.join(STREAM_SCHEMES[1:])}), gst:PIPELINE, test:, a video file, an image, or a folder of images"
)


@dataclass(frozen=True)
class SourceSettings:
    """What applies to every source of a run.

    Attributes:
        limits: how long to wait for cameras and streams.
        camera: what cameras at this machine are asked for.
        rtsp_transport: how RTSP streams travel.
        cadence: which frames are wanted.
    """

    limits: LiveLimits = field(default_factory=LiveLimits)
    camera: CameraRequest = field(default_factory=CameraRequest)
    rtsp_transport: RtspTransport = "tcp"
    cadence: Cadence = field(default_factory=Cadence)


def open_source(text: str, *, name: str | None = None, settings: SourceSettings | None = None) -> Source:
    """The source that a user names; of a camera or stream the first attempt to connect is over.

    Args:
        text: camera number, `/dev/videoN`, `picamera`, stream address, `gst:` and a pipeline, `test:`, or path of a video,
            an image or a folder of images.
        name: what it is called in messages and results; None for `text` without password.
        settings: None for the defaults.

    Raises:
        SourceError: there is nothing of that name, or it cannot be opened.
    """
    source = begin_source(text, name=name, settings=settings)
    if isinstance(source, LiveSource):
        try:
            source.wait_until_connected()
        except BaseException:
            source.close()
            raise
    return source


def begin_source(text: str, *, name: str | None = None, settings: SourceSettings | None = None) -> Source:
    """As `open_source`, but a camera or stream may still connect (`LiveSource.wait_until_connected`)."""
    settings = settings or SourceSettings()
    kind = source_kind(text)
    if kind in FILE_OPENERS:
        return FILE_OPENERS[kind](Path(text), name=name, cadence=settings.cadence)
    shown = name or without_password(text)
    if kind == "pattern":
        spec = pattern.parse_pattern(text.removeprefix(pattern.PREFIX))
        if not spec.paced:
            return pattern.PatternSequence(spec, name=shown, cadence=settings.cadence)
        opener = pattern.pattern_opener(spec)
    else:
        opener = LIVE_OPENERS[kind](text, shown, settings)
    return LiveSource(shown, opener, limits=settings.limits, cadence=settings.cadence)


def source_kind(text: str) -> str:
    """What a source's text stands for: `device`, `picamera`, `stream`, `gstreamer`, `pattern`, `folder`, `image` or `video`.

    Raises:
        SourceError: it is none of them.
    """
    if text.isdecimal() or text.startswith("/dev/video"):
        return "device"
    if picamera.NAME.fullmatch(text):
        return "picamera"
    if text.startswith(gstreamer.PREFIX):
        return "gstreamer"
    if text.startswith(pattern.PREFIX):
        return "pattern"
    scheme, separator, _ = text.partition("://")
    if separator:
        if scheme.lower() in STREAM_SCHEMES:
            return "stream"
        raise SourceError(f"{without_password(text)}: unknown kind of stream {scheme!r}. {ACCEPTED}")
    path = Path(text)
    if path.is_dir():
        return "folder"
    if not path.exists():
        raise SourceError(f"{without_password(text)}: no such file, folder or camera. {ACCEPTED}")
    return "image" if path.suffix.lower() in IMAGE_SUFFIXES else "video"


def without_password(text: str) -> str:
    """A source's text that may be logged, sent and saved: passwords, tokens and keys are hidden.

    >>> without_password("rtsp://admin:secret@10.0.0.7/main")
    'rtsp://admin:***@10.0.0.7/main'
    """
    if text.startswith(gstreamer.PREFIX):
        return gstreamer.PREFIX + pipeline_without_secrets(text.removeprefix(gstreamer.PREFIX))
    return address_without_secrets(text)


def _open_device(text: str, name: str, settings: SourceSettings) -> OpenCapture:
    return device_opener(text, name=name, request=settings.camera)


def _open_stream(text: str, name: str, settings: SourceSettings) -> OpenCapture:
    return stream_opener(text, name=name, transport=settings.rtsp_transport, lost_after_s=settings.limits.lost_after_s)


def _open_gstreamer(text: str, name: str, _settings: SourceSettings) -> OpenCapture:
    return gstreamer.gstreamer_opener(text.removeprefix(gstreamer.PREFIX), name=name)


def _open_picamera(text: str, name: str, settings: SourceSettings) -> OpenCapture:
    found = picamera.NAME.fullmatch(text)
    number = int(found[1] or 0) if found else 0
    return picamera.picamera_opener(number, name=name, request=settings.camera)


LIVE_OPENERS: dict[str, Callable[[str, str, SourceSettings], OpenCapture]] = {
    "device": _open_device,
    "stream": _open_stream,
    "gstreamer": _open_gstreamer,
    "picamera": _open_picamera,
}
FILE_OPENERS: dict[str, type[VideoFile] | type[ImageFiles]] = {
    "video": VideoFile,
    "image": ImageFiles,
    "folder": ImageFiles,
}
