"""Round numbers for the axis of a chart."""

from __future__ import annotations

import math
from collections.abc import Sequence

STEPS = (1, 2, 5, 10)
"""Times a power of ten."""
NEARLY = 0.95
LONGEST_PLAIN = 5
"""Letters of a tick."""


def ticks(low: float, high: float, *, about: int = 5) -> list[float]:
    """Multiples of a round number inside a range, not many more than asked for.

    >>> ticks(0, 1)
    [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    >>> ticks(3, 47)
    [10.0, 20.0, 30.0, 40.0]
    """
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in STEPS if factor * power >= rough * NEARLY)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(number * step, 12) for number in range(first, last + 1)]


def tick_texts(values: Sequence[float]) -> list[str]:
    """Ticks in few letters; powers of ten for all where one would be long.

    >>> tick_texts([0.0, 0.25]), tick_texts([0.0, 0.0002, 0.0004])
    (['0', '0.25'], ['0', '2e-4', '4e-4'])
    """
    plain = [f"{value:.6g}" for value in values]
    if max(map(len, plain), default=0) <= LONGEST_PLAIN:
        return plain
    return [_short(value) for value in values]


def _short(value: float) -> str:
    mantissa, _, exponent = f"{value:.3e}".partition("e")
    return "0" if value == 0 else f"{float(mantissa):g}e{int(exponent)}"
