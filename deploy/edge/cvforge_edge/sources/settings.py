"""What a user asks of sources, apart from what opens them so that options are read sooner."""

from __future__ import annotations

import re
from dataclasses import field
from typing import Literal

from cvforge_edge.errors import UsageError
from cvforge_edge.records import dataclass
from cvforge_edge.sources.cadence import Cadence
from cvforge_edge.sources.limits import LiveLimits

RtspTransport = Literal["tcp", "udp", "http"]
RTSP_TRANSPORTS: tuple[RtspTransport, ...] = ("tcp", "udp", "http")
_SIZE = re.compile(r"(\d{1,5})x(\d{1,5})")


@dataclass(frozen=True)
class CameraRequest:
    """What a camera at this machine is asked for; None leaves the choice to it.

    Attributes:
        size_hw: height and width in pixels.
        fps: frames a second.
        fourcc: how it sends pictures, four letters: `MJPG` is what many USB cameras need for more than 640x480 at full rate.
    """

    size_hw: tuple[int, int] | None = None
    fps: float | None = None
    fourcc: str | None = None


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


def parse_size(text: str, *, option: str) -> tuple[int, int]:
    """Height and width of a size such as `1280x720`, which is width x height, as cameras state it.

    Raises:
        UsageError: it is no size.
    """
    found = _SIZE.fullmatch(text)
    if found is None or not (int(found[1]) and int(found[2])):
        raise UsageError(f"{option}: found {text!r}, accepted WIDTHxHEIGHT in pixels, for instance 1280x720")
    return int(found[2]), int(found[1])
