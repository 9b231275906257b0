"""The thread of one camera: connects, takes pictures, connects again; it may hang in a driver without harm to others."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import cv2

from cvforge_edge.errors import SourceError
from cvforge_edge.sources.capture import Capture, OpenCapture
from cvforge_edge.sources.limits import OPEN_WITHIN_S, LiveLimits, pauses_s

logger = logging.getLogger(__name__)

GRACE_S = 2.0
"""OpenCV ends a call that takes too long by itself; a call that is still there so much later hangs."""


class Owner(Protocol):
    """What a capture thread tells; each call names the thread, since a thread that hung may speak up again much later."""

    def connected(self, thread: CaptureThread, capture: Capture) -> bool:
        """A connection is there; whether the thread is to go on."""

    def attempt_failed(self, thread: CaptureThread, reason: SourceError) -> bool:
        """There is no connection; whether the thread is to try again."""

    def grabbed(self, thread: CaptureThread, captured_s: float) -> bool:
        """A picture has come; whether somebody wants it."""

    def captured(self, thread: CaptureThread, image_bgr: Any, captured_s: float, *, decode_s: float) -> None:
        """Here is the picture, and how much processor time it took."""

    def lost(self, thread: CaptureThread) -> None:
        """The connection is gone; the thread tries again."""

    def crashed(self, thread: CaptureThread, error: Exception) -> None:
        """Nobody expected this error; the thread ends."""


class CaptureThread(threading.Thread):
    """Captures until it is told to stop; a daemon, since nothing can end a thread that hangs in a driver.

    Args:
        name: of the source.
        open_capture: connects; called on this thread only.
        owner: told what happens.
        limits: how long a call may take, and the pauses between attempts.
    """

    def __init__(self, name: str, open_capture: OpenCapture, *, owner: Owner, limits: LiveLimits) -> None:
        super().__init__(name=f"capture {name}", daemon=True)
        self._source, self._open_capture, self._owner, self._limits = name, open_capture, owner, limits
        self._stop_asked = threading.Event()
        self._overdue_s: float | None = None

    def stop(self) -> None:
        """Ask the thread to end; it does as soon as the call returns that it waits in, and releases the camera."""
        self._stop_asked.set()

    def hangs(self, now_s: float) -> bool:
        """Whether it waits in a call for longer than any call may take."""
        overdue_s = self._overdue_s
        return overdue_s is not None and now_s > overdue_s

    def run(self) -> None:
        """Capture; connect again after each loss."""
        pauses = self._pauses()
        while not self._stop_asked.is_set():
            try:
                failure = self._attempt()
            except Exception as error:  # a mistake of ours: raised again by whoever reads the source
                self._owner.crashed(self, error)
                return
            if self._stop_asked.is_set():
                return
            if failure is None:
                pauses = self._pauses()
                self._owner.lost(self)
            elif not self._owner.attempt_failed(self, failure):
                return
            self._stop_asked.wait(next(pauses))

    def _attempt(self) -> SourceError | None:
        """Connect and take pictures until the connection is gone; why there was no picture, or None where there were."""
        try:
            with self._at_most(OPEN_WITHIN_S):
                capture = self._open_capture()
        except SourceError as error:
            return error
        try:
            if not self._owner.connected(self, capture):
                self._stop_asked.set()
            count = self._pump(capture)
        finally:
            with self._at_most(OPEN_WITHIN_S):
                capture.release()
        return None if count else SourceError(f"{self._source}: connected, but no picture came")

    def _pump(self, capture: Capture) -> int:
        """Take pictures until the connection is gone; how many came."""
        count = 0
        while not self._stop_asked.is_set():
            begun_cpu_s = time.thread_time()  # by the clock it would be the camera's pace
            try:
                with self._at_most(self._limits.lost_after_s):
                    if not capture.grab():
                        break
                    captured_s = time.monotonic()
                    count += 1
                    if not self._owner.grabbed(self, captured_s):
                        continue
                    retrieved, image_bgr = capture.retrieve()
            except cv2.error as error:  # a stream may change to what the decoder cannot read: connect anew
                logger.warning("%s: %s", self._source, error)
                break
            if not retrieved:
                break
            self._owner.captured(self, image_bgr, captured_s, decode_s=time.thread_time() - begun_cpu_s)
        return count

    def _pauses(self) -> Iterator[float]:
        return pauses_s(self._limits, uniform=random.uniform)

    @contextmanager
    def _at_most(self, seconds: float) -> Iterator[None]:
        """What is done inside takes at most so long, or hangs."""
        self._overdue_s = time.monotonic() + seconds + GRACE_S
        try:
            yield
        finally:
            self._overdue_s = None
