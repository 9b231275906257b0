"""Ctrl-C and SIGTERM ask a run to stop at its next safe point instead of tearing it apart inside a step."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_log = logging.getLogger(__name__)
SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """Whether the user asked the run to stop."""

    def __init__(self) -> None:
        self.asked = False
        self._process_id = os.getpid()

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Catch the first signal as a request; a second one ends the process at once, as if nothing listened.

        Outside the main thread signals cannot be caught and stay as they are.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        earlier = {number: signal.signal(number, self._receive) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in earlier.items():
                signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process_id:
            self._receive_in_worker(number)
            return
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        _log.warning(
            "stopping after this batch, or after the validation that is running, and saving; "
            "press Ctrl-C again to stop now"
        )

    @staticmethod
    def _receive_in_worker(number: int) -> None:
        """Loader workers inherit this handler: Ctrl-C reaches them too, but the main process decides when they end."""
        if number == signal.SIGTERM:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
