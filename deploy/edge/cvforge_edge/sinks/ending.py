"""How a sink with a thread of its own comes to its end, and how that thread outlives a mistake of ours."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable

UNEXPECTED = "unexpected error, see the log; trying again"

logger = logging.getLogger(__name__)


class Ending:
    """Until when a sink must be closed: said once, by `hurry` or by `close`, whichever comes first.

    Args:
        begin: lets the sink's thread come to its end; called once.
    """

    def __init__(self, begin: Callable[[], None]) -> None:
        self._begin = begin
        self._lock = threading.Lock()
        self._by_s: float | None = None

    @property
    def begun(self) -> bool:
        """Whether the sink is to end."""
        return self._by_s is not None

    def within(self, seconds: float) -> None:
        """End within so many seconds from now; only the first call counts."""
        with self._lock:
            if self._by_s is not None:
                return
            self._by_s = time.monotonic() + seconds
        self._begin()

    def left_s(self, *, kept_s: float = 0.0) -> float:
        """Seconds that are left, at least 0; infinity while the sink is not to end.

        Args:
            kept_s: seconds at the end that are for something else.
        """
        return math.inf if self._by_s is None else max(0.0, self._by_s - kept_s - time.monotonic())


def keep_sending(
    work: Callable[[], None], *, stop: threading.Event, pause_s: float, name: str, set_state: Callable[[str], None]
) -> None:
    """Do the work of a sending thread until it returns; after a mistake of ours messages wait on disk, and it begins anew.

    Args:
        work: returns when there is nothing more to send.
        stop: ends the pause after an error.
        pause_s: before the work is begun anew.
        name: of the output, for the log.
        set_state: told of an error, for the summary.
    """
    while True:
        try:
            work()
            return
        except Exception:
            set_state(UNEXPECTED)
            logger.exception("%s: %s", name, UNEXPECTED)
        if stop.wait(pause_s):
            return
