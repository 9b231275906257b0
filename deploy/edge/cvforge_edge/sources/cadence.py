"""Which frames of a source are looked at, where not all of them shall be."""

from __future__ import annotations

import math

from cvforge_edge.records import dataclass

EARLY_SHARE = 0.25
"""A frame may come by this share of an interval before it is due: clocks of cameras jitter."""


@dataclass(frozen=True)
class Cadence:
    """Which frames of a source are wanted.

    Attributes:
        every: the first frame and then each of so many; at least 1.
        max_fps: at most so many frames a second of the source's own time; None for no limit.
    """

    every: int = 1
    max_fps: float | None = None

    def fps(self, source_fps: float | None) -> float | None:
        """Frames a second that are left of those that a source states; None where it states none."""
        if source_fps is None:
            return None
        return min(source_fps / self.every, self.max_fps or math.inf)

    def frame_count(self, count: int | None, source_fps: float | None) -> int | None:
        """How many of a file's frames are left, estimated where `max_fps` decides; None where it is unknown."""
        if count is None:
            return None
        fps = self.fps(source_fps)
        share = 1 / self.every if fps is None or source_fps is None else fps / source_fps
        return math.ceil(count * share)


class FrameGate:
    """Says of each frame of one source, in their order, whether it is wanted."""

    def __init__(self, cadence: Cadence) -> None:
        self._cadence = cadence
        self._due_s = -math.inf

    def wants(self, index: int, time_s: float) -> bool:
        """Whether a frame is wanted.

        Args:
            index: number of the frame in its source, from 0.
            time_s: of the frame, in the source's own time.
        """
        if index % self._cadence.every:
            return False
        if self._cadence.max_fps is None:
            return True
        interval_s = 1 / self._cadence.max_fps
        if time_s < self._due_s - EARLY_SHARE * interval_s:
            return False
        # On time: the next is due an interval after this one was, so that the rate is kept on average. Late: after this one.
        self._due_s = interval_s + (self._due_s if time_s - self._due_s < interval_s else time_s)
        return True
