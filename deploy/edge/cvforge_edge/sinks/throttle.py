"""Fewer results than pictures: at most so many a second of each source."""

from __future__ import annotations

from cvforge_edge.frame import Result

EARLY_S = 0.001
"""So much before its turn a frame passes: cameras are not exact, nor are sums of periods."""


class Throttle:
    """Lets results pass at most at a given rate, evenly; over any time t at most `rate * t + 2`.

    Args:
        frames_per_s: of each source; None lets every result pass.
    """

    def __init__(self, frames_per_s: float | None) -> None:
        self._period_s = None if frames_per_s is None else 1 / frames_per_s
        self._due_s: dict[int, float] = {}

    def passes(self, result: Result) -> bool:
        """Whether it is the turn of this result, by the time when its picture was taken."""
        if self._period_s is None:
            return True
        now_s = result.frame.captured_s
        due_s = self._due_s.get(result.camera, now_s)  # images of a folder have names of their own, but one source
        if now_s < due_s - EARLY_S:
            return False
        self._due_s[result.camera] = max(due_s + self._period_s, now_s)  # late by jitter: the next one is not
        return True
