"""A camera or a network stream: the newest frame always, and a way back when it goes away."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from typing import Any

import cv2

from cvforge_edge.errors import SourceError
from cvforge_edge.frame import Frame
from cvforge_edge.sources.cadence import Cadence, FrameGate
from cvforge_edge.sources.capture import Capture, OpenCapture
from cvforge_edge.sources.capture_thread import CaptureThread
from cvforge_edge.sources.limits import LiveLimits
from cvforge_edge.sources.state import CameraState, Happening

logger = logging.getLogger(__name__)

JOIN_TIMEOUT_S = 0.2
HANGS = "no answer, the camera's driver, the pipeline or the network library hangs"
MOST_HANGING_THREADS = 3
"""A driver that hangs anew after each new attempt must not fill the memory: then the attempts wait for a return."""


class LiveSource:
    """Frames that come at their own pace, captured on a thread of their own; a newer frame replaces an unread one.

    `sources.state` has the states. Every frame is one that the camera gave, and is given once.
    """

    live = True
    frame_count = None

    def __init__(
        self, name: str, open_capture: OpenCapture, *, limits: LiveLimits | None = None, cadence: Cadence | None = None
    ) -> None:
        """Begin to connect; `wait_until_connected` waits for how that ends.

        Args:
            name: what the source is called in messages, without passwords.
            open_capture: connects; called for each attempt, on a capture thread.
            limits: how long to wait for what; None for the defaults.
            cadence: which frames are wanted; None for all.
        """
        self.name = name
        self.dropped = 0
        self.hanging = 0
        self.fps: float | None = None
        self._open_capture, self._limits, self._cadence = open_capture, limits or LiveLimits(), cadence or Cadence()
        self._gate = FrameGate(self._cadence)
        self._begun_s = self._down_since_s = self._last_frame_s = time.monotonic()
        self._state = CameraState(self._begun_s)
        self._attempted = False
        self._reason = ""
        self._failure: Exception | None = None
        self._slot: Frame | None = None
        self._next_index = 0
        self._on_frame: Callable[[Frame], None] | None = None
        self._on_end: Callable[[Exception], None] = lambda _: None
        self._news = threading.Condition()
        self._hanging: list[CaptureThread] = []
        self._thread: CaptureThread | None = None
        self._start_thread()

    @property
    def state(self) -> str:
        """One of those of `sources.state`."""
        return self._state.name

    @property
    def reconnects(self) -> int:
        """How often the connection was lost and came back."""
        return self._state.reconnects

    @property
    def ended(self) -> bool:
        """Whether the source was closed or has failed for good; a camera has no end of its own."""
        return self._state.name == "closed"

    def wait_until_connected(self) -> None:
        """Wait for the first attempt to connect, and no longer: without frame the state is then still `connecting`.

        Raises:
            SourceError: it failed, and there is to be no second one (`LiveLimits.connect_for_s`).
        """
        with self._news:
            while not self._news.wait_for(lambda: self._attempted or self.ended, self._limits.first_pause_s):
                self._watch()
            if self._failure is not None:
                raise self._failure

    def read(self, *, timeout_s: float) -> Frame | None:
        """The newest frame that was not read yet, or None when none came in time.

        Raises:
            SourceError: the connection was lost and did not come back within `reconnect_for_s`.
        """
        self.watch()
        with self._news:
            self._news.wait_for(lambda: self._slot is not None or self._failure is not None, timeout_s)
            frame, self._slot = self._slot, None
            if frame is None and self._failure is not None:
                raise self._failure
        return frame

    def deliver(self, on_frame: Callable[[Frame], None], on_end: Callable[[Exception], None]) -> None:
        """From now on give every frame at once to a function, on the capture thread, instead of keeping it for `read`.

        Args:
            on_frame: takes a frame and returns soon.
            on_end: told, once, when the source has failed for good.
        """
        with self._news:
            frame, self._slot = self._slot, None
            if frame is not None:
                on_frame(frame)  # before the capture thread can give a newer one
            self._on_frame, self._on_end = on_frame, on_end
            failure = self._failure
        if failure is not None:
            on_end(failure)

    def watch(self) -> None:
        """Look whether frames still come and the capture thread still moves; to be called a few times a second."""
        with self._news:
            failure_before = self._failure
            self._watch()
            failed = self._failure if failure_before is None else None
        if failed is not None:
            self._on_end(failed)

    def stop(self) -> None:
        """Ask the capture thread to end, without waiting for it."""
        with self._news:
            self._note("close")
            if self._thread is not None:
                self._thread.stop()
            self._news.notify_all()

    def close(self, *, within_s: float = JOIN_TIMEOUT_S) -> None:
        """Stop capturing; the capture thread releases the camera, at the latest when its last call returns."""
        self.stop()
        if self._thread is not None:
            self._thread.join(within_s)

    def __enter__(self) -> LiveSource:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # What the capture thread tells (capture_thread.Owner). One that was given up for hanging is not listened to.

    def connected(self, thread: CaptureThread, capture: Capture) -> bool:
        """A connection is there; frames are yet to come."""
        fps = capture.get(cv2.CAP_PROP_FPS)
        with self._news:
            if thread is not self._thread or self.ended:
                return False
            self.fps = self._cadence.fps(fps if math.isfinite(fps) and 0 < fps <= 1000 else None)
            self._attempted = True
            self._news.notify_all()
            return True

    def attempt_failed(self, thread: CaptureThread, reason: SourceError) -> bool:
        """There is no connection; whether there is time for another attempt."""
        with self._news:
            if thread is not self._thread or self.ended:
                return False
            self._note_failed_attempt(str(reason))
            failure = self._failure
        if failure is not None:
            self._on_end(failure)
        return failure is None

    def grabbed(self, thread: CaptureThread, captured_s: float) -> bool:
        """A picture has come; whether it is wanted."""
        with self._news:
            if thread is not self._thread or self.ended:
                return False
            silent_s, self._last_frame_s = captured_s - self._last_frame_s, captured_s
            before = self._note("frame")
            if before in ("stalled", "lost"):
                logger.warning("%s: live again after %.1f s", self.name, silent_s)
            index, self._next_index = self._next_index, self._next_index + 1
            return self._gate.wants(index, captured_s - self._begun_s)

    def captured(self, thread: CaptureThread, image_bgr: Any, captured_s: float, *, decode_s: float) -> None:
        """Give the picture on."""
        with self._news:
            if thread is not self._thread or self.ended:
                return
            time_s, index = captured_s - self._begun_s, self._next_index - 1
            unix_time_s = time.time() - (time.monotonic() - captured_s)
            frame = Frame(image_bgr, index, time_s, unix_time_s, self.name, captured_s, decode_s)
            on_frame = self._on_frame
            if on_frame is None:
                self._keep(frame)
                return
        on_frame(frame)

    def lost(self, thread: CaptureThread) -> None:
        """The connection is gone; the thread tries again."""
        with self._news:
            if thread is self._thread:
                self._note_loss("connection lost, trying again")

    def crashed(self, thread: CaptureThread, error: Exception) -> None:
        """A mistake of ours on the capture thread: whoever reads the source is to see it."""
        with self._news:
            if thread is not self._thread or self.ended:
                return
            self._failure, self._attempted = error, True
            self._note("close")
            self._news.notify_all()
        self._on_end(error)

    def _keep(self, frame: Frame) -> None:
        self.dropped += self._slot is not None
        self._slot = frame
        self._news.notify_all()

    def _note(self, happening: Happening) -> str | None:
        return self._state.note(happening, now_s=time.monotonic())

    def _note_loss(self, what: str) -> None:
        if self._note("loss") is not None:
            self._down_since_s, self._reason = time.monotonic(), ""
            logger.warning("%s: %s", self.name, what)

    def _note_failed_attempt(self, reason: str) -> None:
        self._attempted = True
        first = self._state.name == "connecting"
        allowed_s = self._limits.connect_for_s if first else self._limits.reconnect_for_s
        if time.monotonic() - self._down_since_s >= allowed_s:
            self._failure = SourceError(reason if first else self._not_back(reason))
            self._note("close")
        elif reason != self._reason:  # once, and not for each of the attempts of a night
            self._reason = reason
            logger.info("%s; trying again", reason)
        self._news.notify_all()

    def _not_back(self, reason: str) -> str:
        return (
            f"{self.name}: connection lost and not back within {self._limits.reconnect_for_s:g} s; check camera and "
            f"network, or allow more time with --reconnect-for. The last attempt: {reason}"
        )

    def _watch(self) -> None:
        now_s = time.monotonic()
        if now_s - self._last_frame_s > self._limits.stall_after_s and self._note("silence") is not None:
            logger.warning("%s: stalled, no frame for %.1f s", self.name, now_s - self._last_frame_s)
        self._hanging = [thread for thread in self._hanging if thread.is_alive()]
        if self._thread is not None and self._thread.hangs(now_s):
            self._give_up_thread(self._thread)
        if self._thread is not None or self.ended:
            return
        if len(self._hanging) < MOST_HANGING_THREADS:
            self._start_thread()
        else:
            self._note_failed_attempt(f"{self.name}: {HANGS}; {len(self._hanging)} threads wait for it, no new attempt")

    def _give_up_thread(self, thread: CaptureThread) -> None:
        thread.stop()
        self._hanging.append(thread)
        self._thread = None
        self.hanging += 1
        self._note_loss(f"{HANGS}; its thread is given up, trying again")
        self._note_failed_attempt(f"{self.name}: {HANGS}")

    def _start_thread(self) -> None:
        self._thread = CaptureThread(self.name, self._open_capture, owner=self, limits=self._limits)
        self._thread.start()
