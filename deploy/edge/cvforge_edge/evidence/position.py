"""Where a value lies among those of the reference, and how far it must lie outside to be named."""

from __future__ import annotations

import numpy as np

from cvforge_edge.records import dataclass
from cvforge_edge.stats.distribution import Bins, Distribution

OK, NOTICE, DRIFT = "ok", "notice", "drift"
LEVELS = (OK, NOTICE, DRIFT)
MARGIN = 0.1


@dataclass(frozen=True)
class Limits:
    """Shares of the reference beyond which a median is named; None where that side is never named.

    Attributes:
        notice_low: a median that no more than this share of the reference lies below is a notice.
        drift_low: likewise, drift.
        notice_high: a median that at least this share of the reference lies below is a notice.
        drift_high: likewise, drift.
    """

    notice_low: float | None = None
    drift_low: float | None = None
    notice_high: float | None = None
    drift_high: float | None = None

    def level(self, position: float) -> str:
        """The level of a median with this share of the reference below it."""
        if _at_most(position, self.drift_low) or _at_least(position, self.drift_high):
            return DRIFT
        if _at_most(position, self.notice_low) or _at_least(position, self.notice_high):
            return NOTICE
        return OK


def position(reference: Distribution, value: float) -> float:
    """The share of the reference below a value, 0 to 1; 0 below all and 1 above all of it.

    Read from the histogram, values in a bin evenly spread: the inverse of `Distribution.quantile`, right to within one bin. A
    reference that is narrower than a bin counts as spread over one around its middle: otherwise any difference would lie beyond
    all of it, and a value that equals it at one of its ends.
    """
    narrow = _as_one_bin(reference)
    if narrow is not None:
        return min(1.0, max(0.0, (value - narrow.low) / narrow.width))
    if value < reference.minimum:
        return 0.0
    if value > reference.maximum:
        return 1.0
    bins = reference.bins
    index = int(bins.index(np.array([value]))[0])
    inside = min(1.0, max(0.0, (value - (bins.low + index * bins.width)) / bins.width))
    below = float(reference.counts[:index].sum()) + inside * float(reference.counts[index])
    return below / max(reference.count, 1)


def far_outside(reference: Distribution, value: float) -> bool:
    """Whether a value lies outside the middle 99 % of the reference by more than a tenth of the width of its middle 95 %.

    Of a hundred pictures the middle 99 % are all of them, and the next of their kind may lie a little further out.
    """
    narrow = _as_one_bin(reference)
    places = (0.005, 0.025, 0.975, 0.995)
    lowest, low, high, highest = (
        reference.quantile(share) if narrow is None else narrow.low + share * narrow.width for share in places
    )
    margin = MARGIN * (high - low)
    return value < lowest - margin or value > highest + margin


def beyond_text(position: float, count: int) -> str:
    """How much of the reference a median lies beyond, in words: `99 %`, or `all 87` at its end."""
    share = max(position, 1 - position)
    return f"all {count}" if share >= 1 else f"{min(99.9, 100 * share):.3g} %"


def _as_one_bin(reference: Distribution) -> Bins | None:
    """Where a reference counts as evenly spread whose values lie closer together than its histogram tells apart."""
    if reference.maximum - reference.minimum >= reference.bins.width:
        return None
    middle, half = (reference.minimum + reference.maximum) / 2, reference.bins.width / 2
    return Bins(middle - half, middle + half, 1)


def _at_most(position: float, limit: float | None) -> bool:
    return limit is not None and position <= limit


def _at_least(position: float, limit: float | None) -> bool:
    return limit is not None and position >= limit
