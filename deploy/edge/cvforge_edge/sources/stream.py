"""Network streams by way of OpenCV's FFmpeg: RTSP, Motion JPEG and HLS over HTTP, RTMP, UDP."""

from __future__ import annotations

import math
import os
import time
from collections import deque
from statistics import fmean
from typing import Any

import cv2

from cvforge_edge.errors import SourceError
from cvforge_edge.sources.capture import Capture, OpenCapture
from cvforge_edge.sources.limits import OPEN_WITHIN_S
from cvforge_edge.sources.reachable import unreachable_reason
from cvforge_edge.sources.settings import RtspTransport

FFMPEG_OPTIONS = "OPENCV_FFMPEG_CAPTURE_OPTIONS"
DECODING_THREADS = 1
"""FFmpeg's decoder hands a picture out once each of its threads has one: with n threads a picture is n - 1 intervals old."""
BACKLOG_WITHIN_S = 1.0
BACKLOG_SHARE, BACKLOG_PICTURES = 0.5, 3
"""So many pictures that come sooner, on average, than by this share of an interval were waiting already."""
USUAL_FPS = 25.0
PAUSE_S, PAUSE_INTERVALS = 0.5, 3
"""A wait above both is a pause, after which pictures may come that waited."""
ADVICE = "check address, user, password and network with: ffprobe URL"


class StreamCapture:
    """A stream without its past: pictures that waited somewhere and then come all at once are passed over.

    They wait while FFmpeg looks at the first one or two seconds of a stream, and in TCP while packets are lost.

    Args:
        capture: an open stream.
        lost_after_s: no picture for so long, and the connection is gone; one that comes then was left in the decoder.
    """

    def __init__(self, capture: cv2.VideoCapture, *, lost_after_s: float) -> None:
        self._capture, self._lost_after_s = capture, lost_after_s
        fps = capture.get(cv2.CAP_PROP_FPS)
        self._shortest_s = BACKLOG_SHARE / (fps if math.isfinite(fps) and 0 < fps <= 1000 else USUAL_FPS)
        self._caught_up = False
        self._backlog_until_s: float | None = None
        self._waits_s: deque[float] = deque(maxlen=BACKLOG_PICTURES)

    def grab(self) -> bool:
        """Wait for the next picture of the present; False when the connection is gone."""
        while True:
            begun_s = time.monotonic()
            if not self._capture.grab():
                return False
            now_s = time.monotonic()
            waited_s, usual_s = now_s - begun_s, max(self._waits_s, default=0.0)
            if waited_s >= self._lost_after_s:
                return False
            if self._caught_up and waited_s > max(PAUSE_S, PAUSE_INTERVALS * usual_s):
                self._waits_s.clear()
                self._caught_up, self._backlog_until_s = False, None
                continue  # it may be as old as the pause is long: what comes after it tells
            self._waits_s.append(waited_s)
            if self._caught_up:
                return True
            self._backlog_until_s = self._backlog_until_s or now_s + BACKLOG_WITHIN_S
            at_their_rate = len(self._waits_s) == BACKLOG_PICTURES and fmean(self._waits_s) >= self._shortest_s
            if at_their_rate or now_s >= self._backlog_until_s:
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
                return StreamCapture(capture, lost_after_s=lost_after_s)
            capture.release()
            reason = "a server is there, but it gives no video that FFmpeg can read"
        raise SourceError(f"{name}: no connection: {reason}; {ADVICE}")

    return open_stream
