"""Ends a run that is not well any more, so that whoever started it can start it anew, and tells systemd while it is well."""

from __future__ import annotations

import faulthandler
import logging
import math
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import fields
from typing import TYPE_CHECKING

from cvforge_edge.errors import WatchdogError
from cvforge_edge.records import dataclass
from cvforge_edge.systemd import notify, watchdog_interval_s

if TYPE_CHECKING:
    from cvforge_edge.status import RunStatus, StatusBoard

LOOK_EVERY_S = 1.0
STOP_WITHIN_S = 5.0
"""How long a run that was asked to stop may take before the process is ended."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Limits:
    """When a run is not well any more; `inf` for never. Times are by the monotonic clock, which no clock change touches.

    Attributes:
        inference: seconds that one inference may take; a session that takes longer is replaced, three times an hour.
        write: seconds that results may take to be written (a hung disk or pipe); the process ends at once.
        silence: seconds without a result while there are cameras; the run ends.
        memory: resident memory of the process in MB of 10^6 bytes; the run ends.
    """

    inference: float = 30.0
    write: float = 60.0
    silence: float = math.inf
    memory: float = math.inf


NAMES = tuple(field.name for field in fields(Limits))


class Watchdog:
    """Looks at the status board once a second.

    Args:
        board: of the run.
        limits: what is still well.
        stop: set to end the run in order.
        end_process: ends the process without asking anybody.

    Attributes:
        failure: the limit that was passed; None while none was.
        ready: whether systemd was told that the run has begun.
    """

    def __init__(
        self,
        board: StatusBoard,
        limits: Limits,
        *,
        stop: threading.Event,
        end_process: Callable[[int], object] = os._exit,
    ) -> None:
        self._board, self._limits, self._stop, self._end_process = board, limits, stop, end_process
        self.failure: WatchdogError | None = None
        self._begun_s = time.monotonic()
        self._closed = threading.Event()
        self.ready = False
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop looking."""
        self._closed.set()
        self._thread.join(LOOK_EVERY_S)
        notify("STOPPING=1")

    def raise_failure(self) -> None:
        """After the run: why it was ended, if it was.

        Raises:
            WatchdogError: a limit was passed.
        """
        if self.failure is not None:
            raise self.failure

    def __enter__(self) -> Watchdog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self) -> None:
        interval_s = watchdog_interval_s()
        pause_s = min(LOOK_EVERY_S, interval_s or LOOK_EVERY_S)
        asked_s: float | None = None
        while not self._closed.wait(pause_s):
            status, now_s = self._board.snapshot(), time.monotonic()
            hung_s = now_s - (status.written_s or self._begun_s) if status.phase == "running" else 0.0
            if hung_s > self._limits.write:
                self._end(f"results are not written for {hung_s:.0f} s (limit write={self._limits.write:g})")
                return
            if asked_s is not None:
                if now_s - asked_s > STOP_WITHIN_S:
                    self._end(f"{self.failure}; the run does not end by itself")
                    return
                continue
            problem = self._problem(status, now_s)
            if problem is None:
                self._tell(status, alive=interval_s is not None)
                continue
            self.failure, asked_s = WatchdogError(f"{problem}; the run is ended so that it can be started anew"), now_s
            logger.error("%s", self.failure)
            self._stop.set()

    def _problem(self, status: RunStatus, now_s: float) -> str | None:
        """What is over its limit, if anything is."""
        if status.memory_mb is not None and status.memory_mb > self._limits.memory:
            return f"the process has {status.memory_mb:.0f} MB of memory (limit memory={self._limits.memory:g})"
        if status.phase != "running" or not status.cameras:
            return None
        newest_s = max((camera.result_s or self._begun_s) for camera in status.cameras)
        silent_s = now_s - newest_s
        if silent_s > self._limits.silence:
            states = ", ".join(f"{camera.name} is {camera.state}" for camera in status.cameras)
            return f"no result for {silent_s:.0f} s (limit silence={self._limits.silence:g}): {states}"
        return None

    def _tell(self, status: RunStatus, *, alive: bool) -> None:
        if status.phase != "running":
            if alive:
                notify("WATCHDOG=1")
            return
        cameras = ", ".join(f"{camera.name} {camera.state} {camera.fps:.1f} frames/s" for camera in status.cameras)
        lines = [f"STATUS={cameras}"]
        if not self.ready:
            lines.append("READY=1")
            self.ready = True
        if alive:
            lines.append("WATCHDOG=1")
        notify(*lines)

    def _end(self, reason: str) -> None:
        """The last word: what every thread is doing, and the end."""
        logger.error("%s; the process is ended", reason)
        if sys.__stderr__ is not None:
            faulthandler.dump_traceback(file=sys.__stderr__, all_threads=True)
        logging.shutdown()
        self._end_process(WatchdogError.exit_code)
