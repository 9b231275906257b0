"""When a loss is within its budget: one rule for the gate and for all who search for files that pass it."""

from __future__ import annotations

ROUNDING = 1e-9


def within_budget(loss: float, budget: float) -> bool:
    """Whether a file may lose so much of its metric; the last bit of a difference decides nothing.

    >>> 0.25 - 0.24 <= 0.01, within_budget(0.25 - 0.24, 0.01)
    (False, True)
    """
    return loss <= budget + ROUNDING
