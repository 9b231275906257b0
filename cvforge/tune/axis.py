"""From values to places on a chart: linear, logarithmic or by name, with round numbers beside the axis."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

TICKS = 5
MARGIN = 0.06
"""Of the span, left free at both ends."""
LOG_SUBS_BELOW = 2.0
"""Decades; an axis that spans fewer gets 2 and 5 beside 1."""


@dataclass(frozen=True)
class Axis:
    """One direction of a chart.

    Attributes:
        low, high: the values at the ends; of a logarithmic one their logarithms to base 10.
        log: whether it is logarithmic.
        ticks: (value, text).
    """

    low: float
    high: float
    log: bool
    ticks: tuple[tuple[float, str], ...]

    def place(self, value: float) -> float:
        """0 at the low end, 1 at the high one."""
        position = math.log10(value) if self.log else value
        return (position - self.low) / (self.high - self.low)


def linear_axis(values: Sequence[float], *, whole: bool = False) -> Axis:
    """An axis that shows all values."""
    low, high = min(values), max(values)
    spread = (high - low) or (1.0 if whole else abs(high) * 0.1 or 1.0)
    start, end = low - spread * MARGIN, high + spread * MARGIN
    step = _round_step(spread / (TICKS - 1))
    step = max(step, 1.0) if whole else step
    first, last = math.ceil(start / step), math.floor(end / step)
    ticks = tuple((index * step, f"{index * step:.6g}") for index in range(first, last + 1))
    return Axis(start, end, False, ticks)


def log_axis(values: Sequence[float]) -> Axis:
    """An axis that shows all values, which are above 0."""
    low, high = math.log10(min(values)), math.log10(max(values))
    spread = (high - low) or 1.0
    start, end = low - spread * MARGIN, high + spread * MARGIN
    subs = (1, 2, 5) if spread < LOG_SUBS_BELOW else (1,)
    marks = [sub * 10.0**decade for decade in range(math.floor(start), math.ceil(end) + 1) for sub in subs]
    return Axis(start, end, True, tuple((mark, f"{mark:g}") for mark in marks if start <= math.log10(mark) <= end))


def name_axis(names: Sequence[str]) -> Axis:
    """An axis with a place for each name; its values are their indices."""
    return Axis(-0.5, len(names) - 0.5, False, tuple((float(index), name) for index, name in enumerate(names)))


def _round_step(rough: float) -> float:
    size = 10.0 ** math.floor(math.log10(rough))
    return next(factor * size for factor in (1, 2, 5, 10) if rough <= factor * size * (1 + 1e-9))
