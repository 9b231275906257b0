"""A camera or a network stream: the newest frame always, and a way back when it goes away."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

import cv2

from cvforge_edge.errors import SourceError
from cvforge_edge.frame import Frame

logger = logging.getLogger(__name__)

FIRST_RETRY_S = 0.5
LONGEST_RETRY_S = 10.0
STALL_AFTER_S = 5.0
JOIN_TIMEOUT_S = 0.5


class Capture(Protocol):
    """The part of `cv2.VideoCapture` that a live source uses."""

    def isOpened(self) -> bool: ...  # noqa: D102, N802 - OpenCV's name

    def read(self) -> tuple[bool, Any]: ...  # noqa: D102

    def get(self, property_id: int) -> float: ...  # noqa: D102

    def release(self) -> None: ...  # noqa: D102


class LiveSource:
    """Frames that come at their own pace: a thread captures into one slot, and a newer frame replaces an unread one.

    The state is `connecting` until the first frame, `live` while frames come, `stalled` when none came for
    `STALL_AFTER_S`, `lost` while the connection is down and is tried again with growing pauses, and `closed`.
    """

    live = True
    frame_count = None

    def __init__(
        self,
        name: str,
        open_capture: Callable[[], Capture],
        *,
        reconnect_for_s: float = math.inf,
        first_retry_s: float = FIRST_RETRY_S,
        stall_after_s: float = STALL_AFTER_S,
    ) -> None:
        """Connect once, and start to capture.

        Args:
            name: what the source is called in messages, without passwords.
            open_capture: connects and returns the capture; called again after each loss, on the capture thread.
            reconnect_for_s: how long a lost connection is tried again before the source gives up.
            first_retry_s: pause before the first new attempt; it doubles up to `LONGEST_RETRY_S`.
            stall_after_s: how long no frame may come before the state is `stalled`.

        Raises:
            SourceError: the first connection fails.
        """
        self.name = name
        self.dropped = 0
        self.reconnects = 0
        self.state = "connecting"
        self._open_capture = open_capture
        self._reconnect_for_s, self._first_retry_s, self._stall_after_s = reconnect_for_s, first_retry_s, stall_after_s
        self._slot: Frame | None = None
        self._failure: SourceError | None = None
        self._news = threading.Condition()
        self._stop = threading.Event()
        self._next_index = 0
        capture = open_capture()
        if not capture.isOpened():
            capture.release()
            raise SourceError(
                f"{name}: no connection. A camera: check that it is plugged in (ls /dev/video*), that no other program "
                "uses it, and that this user may (group 'video'). A stream: check address, user, password and network "
                "with: ffprobe URL"
            )
        fps = capture.get(cv2.CAP_PROP_FPS)
        self.fps = fps if math.isfinite(fps) and 0 < fps <= 1000 else None
        self._opened_s = self._last_frame_s = time.monotonic()
        self._thread = threading.Thread(target=self._run, args=(capture,), name=f"capture {name}", daemon=True)
        self._thread.start()

    @property
    def ended(self) -> bool:
        """Whether the source was closed or has given up; a camera has no end of its own."""
        return self._stop.is_set()

    def read(self, *, timeout_s: float) -> Frame | None:
        """The newest frame that was not read yet, or None when none came in time.

        Raises:
            SourceError: the connection was lost and did not come back within `reconnect_for_s`.
        """
        with self._news:
            self._news.wait_for(lambda: self._slot is not None or self._failure is not None, timeout_s)
            if self._failure is not None:
                raise self._failure
            frame, self._slot = self._slot, None
            silent_s = time.monotonic() - self._last_frame_s
            if frame is None and self.state == "live" and silent_s > self._stall_after_s:
                self.state = "stalled"
                logger.warning("%s: stalled, no frame for %.1f s", self.name, silent_s)
        return frame

    def close(self) -> None:
        """Stop capturing; the capture thread releases the camera, at the latest when its last read returns."""
        self._stop.set()
        self._thread.join(JOIN_TIMEOUT_S)
        self.state = "closed"

    def __enter__(self) -> LiveSource:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self, capture: Capture) -> None:
        while not self._stop.is_set():
            try:
                self._pump(capture)
            finally:
                capture.release()
            if self._stop.is_set():
                return
            found = self._reconnect()
            if found is None:
                return
            capture = found

    def _pump(self, capture: Capture) -> None:
        while not self._stop.is_set():
            try:
                captured, image = capture.read()
            except cv2.error as error:  # a stream may change to what the decoder cannot read: connect anew
                logger.warning("%s: %s", self.name, error)
                return
            if not captured:
                return
            now_s = time.monotonic()
            frame = Frame(image, self._next_index, now_s - self._opened_s, time.time(), self.name, now_s)
            self._next_index += 1
            with self._news:
                if self.state in ("stalled", "lost"):
                    logger.warning("%s: live again after %.1f s", self.name, now_s - self._last_frame_s)
                self.reconnects += self.state == "lost"
                self.state = "live"
                self.dropped += self._slot is not None
                self._slot, self._last_frame_s = frame, now_s
                self._news.notify()

    def _reconnect(self) -> Capture | None:
        """A new connection, or None when the source was closed or gave up."""
        with self._news:
            self.state = "lost"
        lost_s, pause_s = time.monotonic(), self._first_retry_s
        logger.warning("%s: connection lost, trying again", self.name)
        while not self._stop.wait(pause_s):
            capture = self._open_capture()
            if capture.isOpened():
                return capture
            capture.release()
            if time.monotonic() - lost_s > self._reconnect_for_s:
                self._give_up()
                return None
            pause_s = min(2 * pause_s, LONGEST_RETRY_S)
            logger.info("%s: still no connection, next attempt in %.1f s", self.name, pause_s)
        return None

    def _give_up(self) -> None:
        with self._news:
            self._failure = SourceError(
                f"{self.name}: connection lost and not back within {self._reconnect_for_s:g} s; check camera and "
                "network, or allow more time with --reconnect-for"
            )
            self._news.notify()
