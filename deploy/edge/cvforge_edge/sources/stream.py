"""Network streams by way of OpenCV's FFmpeg: RTSP, Motion JPEG and HLS over HTTP, RTMP, UDP."""

from __future__ import annotations

import math
import os
import time
from typing import Any, Literal

import cv2

from cvforge_edge.errors import SourceError
from cvforge_edge.sources.capture import Capture, OpenCapture
from cvforge_edge.sources.limits import OPEN_WITHIN_S
from cvforge_edge.sources.reachable import unreachable_reason

RtspTransport = Literal["tcp", "udp", "http"]
RTSP_TRANSPORTS: tuple[RtspTransport, ...] = ("tcp", "udp", "http")
FFMPEG_OPTIONS = "OPENCV_FFMPEG_CAPTURE_OPTIONS"
DECODING_THREADS = 1
"""FFmpeg's decoder hands a picture out once each of its threads has one: with n threads a picture is n - 1 intervals old."""
BACKLOG_WITHIN_S = 1.0
BACKLOG_SHARE = 0.5
"""A picture that comes sooner after the one before than by this share of an interval was waiting already."""
USUAL_FPS = 25.0
ADVICE = "check address, user, password and network with: ffprobe URL"


class StreamCapture:
    """A stream without its beginning: FFmpeg looks at one or two seconds of it first, and would show them as the present.

    Args:
        capture: an open stream.
    """

    def __init__(self, capture: cv2.VideoCapture) -> None:
        self._capture = capture
        fps = capture.get(cv2.CAP_PROP_FPS)
        self._shortest_s = BACKLOG_SHARE / (fps if math.isfinite(fps) and 0 < fps <= 1000 else USUAL_FPS)
        self._backlog_until_s: float | None = None
        self._caught_up = False

    def grab(self) -> bool:
        """Wait for the next picture; those that were waiting when the stream was opened are passed over."""
        while True:
            begun_s = time.monotonic()
            if not self._capture.grab():
                return False
            if self._caught_up:
                return True
            now_s = time.monotonic()
            self._backlog_until_s = self._backlog_until_s or now_s + BACKLOG_WITHIN_S
            if now_s - begun_s >= self._shortest_s or now_s >= self._backlog_until_s:
                self._caught_up = True
                return True

    def retrieve(self) -> tuple[bool, Any]:
        """The picture."""
        return self._capture.retrieve()

    def get(self, property_id: int) -> float:
        """The frame rate."""
        return self._capture.get(property_id)

    def release(self) -> None:
        """End the connection."""
        self._capture.release()


def stream_opener(address: str, *, name: str, transport: RtspTransport = "tcp", lost_after_s: float) -> OpenCapture:
    """What connects to a stream.

    Args:
        address: with user and password, where it has any.
        name: without.
        transport: of RTSP. TCP passes firewalls and loses no packets, so no picture is half grey; where a server offers
            only UDP, that is taken.
        lost_after_s: no data for so long, and the connection is gone.
    """
    if transport != "tcp":  # OpenCV prefers TCP by itself
        # Read at each opening, for the whole process, files included: nothing but the transport may stand there.
        os.environ.setdefault(FFMPEG_OPTIONS, f"rtsp_transport;{transport}")
    settings = [
        *(cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, round(OPEN_WITHIN_S * 1000)),
        *(cv2.CAP_PROP_READ_TIMEOUT_MSEC, round(lost_after_s * 1000)),
        *(cv2.CAP_PROP_N_THREADS, DECODING_THREADS),
    ]

    def open_stream() -> Capture:
        reason = unreachable_reason(address)
        if reason is None:
            capture = cv2.VideoCapture(address, cv2.CAP_FFMPEG, settings)
            if capture.isOpened():
                return StreamCapture(capture)
            capture.release()
            reason = "a server is there, but it gives no video that FFmpeg can read"
        raise SourceError(f"{name}: no connection: {reason}; {ADVICE}")

    return open_stream
