"""How patient a run is with its cameras, and the pauses between attempts to reach one that is gone."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

from cvforge_edge.errors import UsageError
from cvforge_edge.records import dataclass

STALL_AFTER_S = 2.0
LOST_AFTER_S = 5.0
OPEN_WITHIN_S = 5.0
"""A connection that is not there by then is tried anew."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.25, 1.0
"""The longest pause and an attempt together stay below five seconds: that soon is a camera back after its return."""
LEAST_SHARE_OF_PAUSE = 0.5


@dataclass(frozen=True)
class LiveLimits:
    """How long a run waits for a camera or stream, all in seconds.

    Attributes:
        stall_after_s: no frame for so long, and the state is `stalled`.
        lost_after_s: no frame for so long, and the connection is given up and made anew; above `stall_after_s`.
        connect_for_s: how long the first connection is tried; 0 for one attempt.
        reconnect_for_s: how long a lost connection is tried before the source has failed for good.
        first_pause_s: before the second attempt; pauses double from there.
        longest_pause_s: between two attempts.
    """

    stall_after_s: float = STALL_AFTER_S
    lost_after_s: float = LOST_AFTER_S
    connect_for_s: float = 0.0
    reconnect_for_s: float = math.inf
    first_pause_s: float = FIRST_PAUSE_S
    longest_pause_s: float = LONGEST_PAUSE_S

    def __post_init__(self) -> None:
        """Check that a camera is called stalled before it is given up.

        Raises:
            UsageError: it is not.
        """
        if not 0 < self.stall_after_s < self.lost_after_s:
            raise UsageError(
                f"--stall-after {self.stall_after_s:g} with --lost-after {self.lost_after_s:g}: a camera is first called "
                "stalled and later lost; accepted: 0 < stall-after < lost-after"
            )


def pauses_s(limits: LiveLimits, *, uniform: Callable[[float, float], float]) -> Iterator[float]:
    """Seconds before each new attempt, without end: doubling up to the longest, each shortened at random by up to a half.

    Many devices that lost one server at the same moment do not come back to it at the same moment. Source of "equal
    jitter": Brooker 2015, Exponential Backoff And Jitter.

    Args:
        limits: with the first and the longest pause.
        uniform: draws a number between two; `random.uniform`.
    """
    pause_s = limits.first_pause_s
    while True:
        yield pause_s * uniform(LEAST_SHARE_OF_PAUSE, 1.0)
        pause_s = min(2 * pause_s, limits.longest_pause_s)
