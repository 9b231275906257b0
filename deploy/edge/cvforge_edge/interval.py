"""Between which values a score lies, given that other images of the same kind could have been chosen."""

from __future__ import annotations

import math

from cvforge_edge.errors import SpecError
from cvforge_edge.records import dataclass


@dataclass(frozen=True)
class ScoreInterval:
    """A confidence interval.

    Attributes:
        low: lower end, in the unit of the score.
        high: upper end, not below `low`.
        level: share of such intervals that hold the true value, inside 0..1, for instance 0.95.

    Raises:
        SpecError: the numbers are not finite or not in this order.
    """

    low: float
    high: float
    level: float

    def __post_init__(self) -> None:
        if not math.isfinite(self.low) or not math.isfinite(self.high) or self.low > self.high:
            raise SpecError(f"low: found {self.low!r} with high {self.high!r}, accepted finite numbers, low first")
        if not 0 < self.level < 1:
            raise SpecError(f"level: found {self.level!r}, accepted a number inside 0..1")

    def __str__(self) -> str:
        return f"[{self.low:.3f}, {self.high:.3f}]"
