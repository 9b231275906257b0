"""The options of a command that say where frames come from, and the sources that they open."""

from __future__ import annotations

import argparse
import math
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from cvforge_edge.camera import begin_source, live_sources, without_password
from cvforge_edge.errors import EdgeError, SourceError, UsageError
from cvforge_edge.option_types import count, positive, seconds
from cvforge_edge.sources.cadence import Cadence
from cvforge_edge.sources.limits import LOST_AFTER_S, STALL_AFTER_S, LiveLimits
from cvforge_edge.sources.settings import RTSP_TRANSPORTS, CameraRequest, SourceSettings, parse_size

if TYPE_CHECKING:
    from cvforge_edge.sources.source import Source

CLOSE_WITHIN_S = 0.3
"""All cameras together; one that hangs in its driver is left behind."""
_NAMED = re.compile(r"([A-Za-z0-9_-]+)=(.+)", re.DOTALL)


def add_source_option(group: argparse._ArgumentGroup) -> None:
    """Add `--source`."""
    group.add_argument(
        "--source",
        action="append",
        metavar="[NAME=]SOURCE",
        help="camera number (0) or device (/dev/video0), picamera, stream (rtsp://...), gst:PIPELINE, test:640x480@30, video "
        "file, image, or folder of images; again for each further one (docs/sources.md)",
    )


def add_source_options(group: argparse._ArgumentGroup) -> None:
    """Add what belongs to `--source`."""
    add = group.add_argument
    add("--roi", metavar="X,Y,W,H", help="look only there: pixels (320,0,640,480) or shares (0.25,0.0,0.5,1.0)")
    add("--every", type=count, default=1, metavar="N", help="look at one frame in N")
    add("--max-fps", type=positive, metavar="F", help="look at no more than so many frames a second of each source")
    add("--camera-size", metavar="WxH", help="ask a camera at this machine for this size, for instance 1280x720")
    add("--camera-fps", type=positive, metavar="F", help="ask it for so many frames a second")
    add("--camera-format", type=_fourcc, metavar="CODE", help="ask it for this format: MJPG, YUYV, ...")
    add("--rtsp-transport", choices=RTSP_TRANSPORTS, default="tcp", help="of rtsp:// streams (default: tcp)")
    stall_help = "a camera without a frame for so long is stalled (default: %(default)g)"
    add("--stall-after", type=positive, default=STALL_AFTER_S, metavar="SECONDS", help=stall_help)
    lost_help = "and after so long lost: it is connected anew (default: %(default)g)"
    add("--lost-after", type=positive, default=LOST_AFTER_S, metavar="SECONDS", help=lost_help)
    connect_help = "how long the first connection to a camera or stream is tried (default: one attempt)"
    add("--connect-for", type=seconds, default=0.0, metavar="SECONDS", help=connect_help)
    reconnect_help = "how long a lost camera or stream is tried again (default: for ever)"
    add("--reconnect-for", type=seconds, default=math.inf, metavar="SECONDS", help=reconnect_help)


def source_settings(options: argparse.Namespace) -> SourceSettings:
    """What the options say about every source.

    Raises:
        UsageError: two of them do not go together, or a size or region is none.
    """
    size = options.camera_size
    if options.roi is not None:
        from cvforge_edge.region import parse_region

        parse_region(options.roi)
    return SourceSettings(
        limits=LiveLimits(
            stall_after_s=options.stall_after,
            lost_after_s=options.lost_after,
            connect_for_s=options.connect_for,
            reconnect_for_s=options.reconnect_for,
        ),
        camera=CameraRequest(
            size_hw=None if size is None else parse_size(size, option="--camera-size"),
            fps=options.camera_fps,
            fourcc=options.camera_format,
        ),
        rtsp_transport=options.rtsp_transport,
        cadence=Cadence(every=options.every, max_fps=options.max_fps),
    )


@contextmanager
def open_sources(texts: Sequence[str], settings: SourceSettings) -> Iterator[list[Source]]:
    """Open all sources, cameras and streams at the same time; closed at the end, all within half a second.

    A file that is not there, or a name that stands for nothing, ends it at once. A camera that cannot be reached does so
    only where it is the only source, or none of them can: else it stays among the sources, and says so when it is read.

    Args:
        texts: as given to `--source`.
        settings: for every source.

    Raises:
        EdgeError: a source cannot be opened, or two have the same name.
    """
    named = [split_name(text) for text in texts]
    _check_names([name or without_password(text) for name, text in named])
    with ExitStack() as resources:
        sources: list[Source] = []
        resources.callback(_close_all, sources)
        begin = [partial(_begin, sources, text, name=name, settings=settings) for name, text in named]
        _raise_all([error for action in begin if (error := _error_of(action)) is not None])
        cameras = live_sources(sources)
        errors = [error for camera in cameras if (error := _error_of(camera.wait_until_connected)) is not None]
        if len(errors) == len(sources):
            _raise_all(errors)
        yield sources


def frames_to_come(sources: Sequence[Source], max_frames: int | None) -> int | None:
    """How many frames a run will take; None where a source does not know."""
    counts = [source.frame_count for source in sources]
    total = None if None in counts else sum(filter(None, counts))
    return min((number for number in (total, max_frames) if number is not None), default=None)


def split_name(text: str) -> tuple[str | None, str]:
    """Name and source of `door=rtsp://camera/stream`; the name is None where there is none.

    >>> split_name("door=rtsp://camera/stream?channel=1"), split_name("rtsp://camera/stream?channel=1")
    (('door', 'rtsp://camera/stream?channel=1'), (None, 'rtsp://camera/stream?channel=1'))
    """
    found = _NAMED.fullmatch(text)
    if found is None or Path(text).exists():
        return None, text
    return found[1], found[2]


def _begin(sources: list[Source], text: str, *, name: str | None, settings: SourceSettings) -> None:
    sources.append(begin_source(text, name=name, settings=settings))


def _check_names(names: Sequence[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UsageError(
            f"--source: {', '.join(twice)}: the name of more than one source, so that results could not be told apart; "
            "give each its own: --source door=SOURCE --source yard=SOURCE"
        )


def _error_of(action: Callable[[], object]) -> EdgeError | None:
    try:
        action()
    except EdgeError as error:
        return error
    return None


def _raise_all(errors: Sequence[EdgeError]) -> None:
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise SourceError(f"{len(errors)} sources cannot be opened:\n" + "\n".join(f"  {error}" for error in errors))


def _close_all(sources: Sequence[Source]) -> None:
    cameras = live_sources(sources)
    for camera in cameras:
        camera.stop()
    until_s = time.monotonic() + CLOSE_WITHIN_S
    for camera in cameras:
        camera.close(within_s=max(0.0, until_s - time.monotonic()))
    for source in sources:
        if not source.live:
            source.close()


def _fourcc(text: str) -> str:
    if len(text) != 4 or not text.isascii() or not text.isprintable():
        raise argparse.ArgumentTypeError(f"found {text!r}, accepted a code of four letters, for instance MJPG")
    return text
