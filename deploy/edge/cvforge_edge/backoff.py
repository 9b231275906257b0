"""Growing pauses between attempts, scattered so that a hundred devices do not return in the same instant."""

from __future__ import annotations

import random


class Backoff:
    """Pauses that double up to a limit; each is drawn between half and the whole of its length.

    Source: Brooker 2015, Exponential backoff and jitter ("equal jitter").

    Args:
        first_s: length of the first pause.
        longest_s: no pause is longer.
    """

    def __init__(self, *, first_s: float, longest_s: float) -> None:
        self._first_s, self._longest_s = first_s, longest_s
        self._length_s = first_s
        self._random = random.Random()

    def next_s(self) -> float:
        """Seconds to wait before the next attempt."""
        length_s = self._length_s
        self._length_s = min(2 * length_s, self._longest_s)
        return length_s * self._random.uniform(0.5, 1.0)

    def reset(self) -> None:
        """An attempt succeeded: begin again with the first pause."""
        self._length_s = self._first_s
