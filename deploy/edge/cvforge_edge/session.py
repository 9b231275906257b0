"""One session of a model, and the model that is loaded to take its place."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from cvforge_edge.errors import InferenceError, WatchdogError

if TYPE_CHECKING:
    from cvforge_edge.inbox import Ticket
    from cvforge_edge.sessions import FramePredictor


class Session:
    """One thread and the model that it runs.

    Args:
        predictor: the model.
        first: a frame that it begins with, since another session failed at it.
    """

    def __init__(self, predictor: FramePredictor, *, first: Ticket | None = None) -> None:
        self.lock = threading.Lock()
        self.predictor, self.first = predictor, first
        self.failure: tuple[Ticket, InferenceError] | None = None
        self.following: FramePredictor | None = None
        self.ticket: Ticket | None = None
        self.begun_s = 0.0
        self.left_behind = False
        self.spare: Spare | None = None
        self.thread: threading.Thread | None = None

    def begin(self, ticket: Ticket) -> FramePredictor:
        """The model for a frame: the one that was loaded last."""
        with self.lock:
            self.ticket, self.begun_s = ticket, time.monotonic()
            old, following = self.predictor, self.following
            if following is None:
                return old
            self.predictor, self.following = following, None
        old.close()
        return following

    def end(self) -> bool:
        """Whether the frame still counts: the session was not left behind meanwhile."""
        with self.lock:
            self.ticket = None
            return not self.left_behind

    def fail(self, ticket: Ticket, error: InferenceError) -> None:
        """Note that the model failed at a frame, unless the session was left behind meanwhile."""
        if self.end():
            self.failure = ticket, error

    def follow(self, predictor: FramePredictor) -> None:
        """Take another model from the next frame on."""
        with self.lock:
            skipped, self.following = self.following, predictor
        if skipped is not None:
            skipped.close()

    def leave_behind(self, limit_s: float) -> Ticket | None:
        """The frame of a session that has worked on it for longer than the limit; from now on its answer is ignored."""
        with self.lock:
            if self.ticket is None or self.left_behind or time.monotonic() - self.begun_s <= limit_s:
                return None
            self.left_behind = True
            return self.ticket


class Spare:
    """A model that is being loaded, on a thread of its own, to take the place of another: a run does not wait for it.

    Args:
        load: gives the model.
        because: what is wrong with the other one.
        first: the frame that it begins with; None for the next one.
    """

    def __init__(self, load: Callable[[], FramePredictor], *, because: str, first: Ticket | None) -> None:
        self.because, self.first = because, first
        self._load = load
        self._predictor: FramePredictor | None = None
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="spare", daemon=True)
        self._thread.start()

    @property
    def ready(self) -> bool:
        """Whether it is loaded, or cannot be."""
        return not self._thread.is_alive()

    def take(self) -> FramePredictor:
        """The model, once it is ready.

        Raises:
            WatchdogError: it cannot be loaded.
        """
        if self._predictor is None:
            raise WatchdogError(f"{self.because}, and its session cannot be replaced: {self._error}") from self._error
        return self._predictor

    def close(self) -> None:
        """Free the model, if it is there."""
        if self.ready and self._predictor is not None:
            self._predictor.close()

    def _run(self) -> None:
        try:
            self._predictor = self._load()
        except Exception as error:  # told to the run by `take`
            self._error = error
