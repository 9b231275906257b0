"""A condition that flickers, as beginnings and ends that last."""

from __future__ import annotations

from cvforge_edge.records import dataclass

NEVER_S = float("-inf")


@dataclass(frozen=True)
class Change:
    """A condition has begun, or ended.

    Attributes:
        active: whether it holds from now on.
        lasted_s: for an end, how long it held; for a beginning, for how long it holds already.
    """

    active: bool
    lasted_s: float


class Condition:
    """Debounces a condition.

    Args:
        for_s: it must hold, or not hold, for so long before that counts.
        cooldown_s: after an end, no new beginning for so long.
        max_gap_s: a longer pause between two frames begins all measuring anew.
    """

    def __init__(self, *, for_s: float, cooldown_s: float, max_gap_s: float) -> None:
        self._for_s, self._cooldown_s, self._max_gap_s = for_s, cooldown_s, max_gap_s
        self._active = False
        self._since_s = self._begun_s = self._time_s = 0.0
        self._ended_s = NEVER_S
        self._raw: bool | None = None

    @property
    def active(self) -> bool:
        """Whether it counts as holding."""
        return self._active

    def update(self, holds: bool, time_s: float) -> Change | None:
        """Take what is seen at a time; a change where one counts from now on."""
        if not 0 <= time_s - self._time_s <= self._max_gap_s:
            self._raw = None
            self._ended_s = NEVER_S if time_s < self._time_s else self._ended_s
            self._begun_s = min(self._begun_s, time_s)
        if holds is not self._raw:
            self._raw, self._since_s = holds, time_s
        self._time_s = time_s
        if holds == self._active or time_s - self._since_s < self._for_s:
            return None
        if holds and time_s - self._ended_s < self._cooldown_s:
            return None
        self._active = holds
        if holds:
            self._begun_s = self._since_s
            return Change(True, time_s - self._since_s)
        self._ended_s = time_s
        return Change(False, max(self._since_s - self._begun_s, 0.0))
