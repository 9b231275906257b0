"""Cameras for tests: each gives the frames of a script, each when the test lets it, and then fails, or hangs."""

from __future__ import annotations

import threading
import time

import numpy as np

from cvforge_edge.errors import SourceError

WAIT_S = 20.0


class ScriptedCapture:
    """A camera that gives the frames of a script, each when the test lets it, and then fails."""

    def __init__(self, greys: list[int]) -> None:
        self.greys, self.released = list(greys), False
        self.permits = threading.Semaphore(0)
        self.grey = 0

    def get(self, property_id: int) -> float:
        return 25.0

    def grab(self) -> bool:
        self.permits.acquire()
        if not self.greys:
            return False
        self.grey = self.greys.pop(0)
        return True

    def retrieve(self):
        return True, np.full((4, 4, 3), self.grey, np.uint8)

    def release(self) -> None:
        self.released = True

    def let(self, count: int) -> None:
        self.permits.release(count)


REFUSED = SourceError("camera: no connection")


def opener(captures):
    """Gives one after the other; `REFUSED` is raised, and so is it when none is left."""
    remaining = iter(captures)

    def open_next():
        capture = next(remaining, REFUSED)
        if isinstance(capture, Exception):
            raise capture
        return capture

    return open_next


def wait_until(condition, what: str) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, f"not in time: {what}"
        time.sleep(0.002)
