"""Opens whatever a user names as the source of frames: a camera, a stream, a clip, a folder, an image or a test pattern."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cvforge_edge.address_secrets import address_without_secrets, pipeline_without_secrets
from cvforge_edge.errors import SourceError
from cvforge_edge.sources.names import GSTREAMER_PREFIX, IMAGE_SUFFIXES, PATTERN_PREFIX, PICAMERA, STREAM_SCHEMES
from cvforge_edge.sources.settings import SourceSettings

if TYPE_CHECKING:
    from cvforge_edge.sources.capture import OpenCapture
    from cvforge_edge.sources.live import LiveSource
    from cvforge_edge.sources.source import Source

ACCEPTED = (
    "Accepted: a camera number (0), a camera device (/dev/video0), picamera, a stream (rtsp://host/path; also "
    f"{', '.join(STREAM_SCHEMES[1:])}), gst:PIPELINE, test:, a video file, an image, or a folder of images"
)


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
    for camera in live_sources([source]):
        try:
            camera.wait_until_connected()
        except BaseException:
            camera.close()
            raise
    return source


def live_sources(sources: Sequence[Source]) -> list[LiveSource]:
    """The cameras and streams among some sources."""
    if not any(source.live for source in sources):
        return []
    from cvforge_edge.sources.live import LiveSource

    return [source for source in sources if isinstance(source, LiveSource)]


def begin_source(text: str, *, name: str | None = None, settings: SourceSettings | None = None) -> Source:
    """As `open_source`, but a camera or stream may still connect (`LiveSource.wait_until_connected`)."""
    settings = settings or SourceSettings()
    kind = source_kind(text)
    if kind == "video":
        from cvforge_edge.sources.video_file import VideoFile

        return VideoFile(Path(text), name=name, cadence=settings.cadence)
    if kind in ("image", "folder"):
        from cvforge_edge.sources.image_files import ImageFiles

        return ImageFiles(Path(text), name=name, cadence=settings.cadence)
    shown = name or without_password(text)
    if kind == "pattern":
        return _begin_pattern(text, shown, settings)
    from cvforge_edge.sources.live import LiveSource

    opener = LIVE_OPENERS[kind](text, shown, settings)
    return LiveSource(shown, opener, limits=settings.limits, cadence=settings.cadence)


def source_kind(text: str) -> str:
    """What a source's text stands for: `device`, `picamera`, `stream`, `gstreamer`, `pattern`, `folder`, `image` or `video`.

    Raises:
        SourceError: it is none of them.
    """
    if text.isdecimal() or text.startswith("/dev/video"):
        return "device"
    if PICAMERA.fullmatch(text):
        return "picamera"
    if text.startswith(GSTREAMER_PREFIX):
        return "gstreamer"
    if text.startswith(PATTERN_PREFIX):
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
    if text.startswith(PATTERN_PREFIX):
        return text
    if text.startswith(GSTREAMER_PREFIX):
        return GSTREAMER_PREFIX + pipeline_without_secrets(text.removeprefix(GSTREAMER_PREFIX))
    return address_without_secrets(text)


def _begin_pattern(text: str, name: str, settings: SourceSettings) -> Source:
    from cvforge_edge.sources.pattern import PatternSequence, parse_pattern, pattern_opener

    spec = parse_pattern(text.removeprefix(PATTERN_PREFIX))
    if not spec.paced:
        return PatternSequence(spec, name=name, cadence=settings.cadence)
    from cvforge_edge.sources.live import LiveSource

    return LiveSource(name, pattern_opener(spec), limits=settings.limits, cadence=settings.cadence)


def _open_device(text: str, name: str, settings: SourceSettings) -> OpenCapture:
    from cvforge_edge.sources.device import device_opener

    return device_opener(text, name=name, request=settings.camera)


def _open_stream(text: str, name: str, settings: SourceSettings) -> OpenCapture:
    from cvforge_edge.sources.stream import stream_opener

    return stream_opener(text, name=name, transport=settings.rtsp_transport, lost_after_s=settings.limits.lost_after_s)


def _open_gstreamer(text: str, name: str, _settings: SourceSettings) -> OpenCapture:
    from cvforge_edge.sources.gstreamer import gstreamer_opener

    return gstreamer_opener(text.removeprefix(GSTREAMER_PREFIX), name=name)


def _open_picamera(text: str, name: str, settings: SourceSettings) -> OpenCapture:
    from cvforge_edge.sources.picamera import picamera_opener

    found = PICAMERA.fullmatch(text)
    number = int(found[1] or 0) if found else 0
    return picamera_opener(number, name=name, request=settings.camera)


LIVE_OPENERS: dict[str, Callable[[str, str, SourceSettings], OpenCapture]] = {
    "device": _open_device,
    "stream": _open_stream,
    "gstreamer": _open_gstreamer,
    "picamera": _open_picamera,
}
"""Each imports its kind when it is asked for: a run sooner begins without the others."""
