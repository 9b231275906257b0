"""The values of one quantity over a whole set of images, in memory that does not grow with the set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cvforge_edge.errors import SpecError
from cvforge_edge.records import dataclass
from cvforge_edge.strict_json import Fields

if TYPE_CHECKING:
    import numpy.typing as npt

MAX_COUNT = 2**53
"""Counts above this are no longer exact in the JSON of other languages; no device gets there."""
ROUNDING = 1e-9


@dataclass(frozen=True)
class Bins:
    """Bins of equal width between two values; what lies outside counts in the first or the last bin.

    Attributes:
        low: where the first bin begins.
        high: where the last bin ends.
        number: of bins.
    """

    low: float
    high: float
    number: int

    @property
    def width(self) -> float:
        """Of one bin."""
        return (self.high - self.low) / self.number

    def index(self, values: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
        """The bin of each value; a value on a border belongs to the upper bin, `high` to the last."""
        position = np.floor((values - self.low) / self.width)
        return np.clip(position, 0, self.number - 1).astype(np.int64)


class Distribution:
    """Exact count, minimum and maximum, mean and variance to rounding, and a histogram that quantiles are read from.

    Mean and squared deviations of two parts are joined without loss of digits.
    Source: Chan, Golub & LeVeque 1979, Updating Formulae and a Pairwise Algorithm for Computing Sample Variances, eq. 2.1.

    Args:
        bins: of the histogram.
    """

    def __init__(self, bins: Bins) -> None:
        self.bins = bins
        self.counts: npt.NDArray[np.int64] = np.zeros(bins.number, np.int64)
        self.mean = 0.0
        self.squared_deviations = 0.0
        self.minimum = 0.0
        self.maximum = 0.0

    @property
    def count(self) -> int:
        """How many values were added."""
        return int(self.counts.sum())

    @property
    def variance(self) -> float:
        """Of the values as a population (divided by their number); 0 when there is none."""
        return self.squared_deviations / self.count if self.count else 0.0

    def add(self, values: npt.NDArray[Any]) -> None:
        """Take in any number of values.

        Raises:
            SpecError: a value is NaN or infinite.
        """
        values = np.asarray(values, np.float64).ravel()
        if not values.size:
            return
        mean = float(values.mean())
        if not np.isfinite(mean):
            raise SpecError("a statistic was given NaN or Infinity; only finite values can be counted")
        part = Distribution(self.bins)
        part.counts = np.bincount(self.bins.index(values), minlength=self.bins.number)
        part.mean, part.squared_deviations = mean, float(np.square(values - mean).sum())
        part.minimum, part.maximum = float(values.min()), float(values.max())
        self.merge(part)

    def merge(self, other: Distribution) -> None:
        """Take in what another distribution has seen.

        Raises:
            SpecError: its bins are others.
        """
        if other.bins != self.bins:
            raise SpecError(f"distributions of other bins cannot be merged: {self.bins} and {other.bins}")
        mine, theirs = self.count, other.count
        if not theirs:
            return
        self.minimum = min(self.minimum, other.minimum) if mine else other.minimum
        self.maximum = max(self.maximum, other.maximum) if mine else other.maximum
        difference = other.mean - self.mean
        self.squared_deviations += other.squared_deviations + difference**2 * mine * theirs / (mine + theirs)
        self.mean += difference * theirs / (mine + theirs)
        self.counts = self.counts + other.counts

    def quantile(self, share: float) -> float:
        """The value that `share` of all values do not exceed, right to within one bin; values in a bin count as evenly spread.

        Raises:
            SpecError: nothing was added, or share is not in 0..1.
        """
        if not self.count or not 0 <= share <= 1:
            raise SpecError(
                f"quantile: found share {share!r} of {self.count} values, accepted 0..1 of at least one value"
            )
        reached = np.cumsum(self.counts)
        index = int(np.searchsorted(reached, share * self.count, side="left"))
        inside = (share * self.count - (reached[index] - self.counts[index])) / max(int(self.counts[index]), 1)
        value = self.bins.low + (index + float(np.clip(inside, 0, 1))) * self.bins.width
        return min(max(value, self.minimum), self.maximum)

    def to_value(self) -> dict[str, Any]:
        """Plain values for JSON; all numbers are 0 when nothing was added."""
        return {
            "low": self.bins.low,
            "high": self.bins.high,
            "counts": self.counts.tolist(),
            "mean": self.mean,
            "squared_deviations": self.squared_deviations,
            "minimum": self.minimum,
            "maximum": self.maximum,
        }

    @classmethod
    def read(cls, fields: Fields, bins: Bins) -> Distribution | None:
        """The distribution that JSON fields stand for, or None with its problems noted in `fields`."""
        numbers = {
            name: fields.number(name) for name in ("low", "high", "mean", "squared_deviations", "minimum", "maximum")
        }
        counts = read_counts(fields, "counts", bins.number)
        fields.finish()
        if counts is None or None in numbers.values():
            return None
        problems = _problems(numbers, int(counts.sum()), bins)
        for problem in problems:
            fields.problem(fields.path(problem))
        if problems:
            return None
        made = cls(bins)
        made.counts = counts
        for name in ("mean", "squared_deviations", "minimum", "maximum"):
            setattr(made, name, numbers[name])
        return made


def read_counts(fields: Fields, name: str, length: int) -> npt.NDArray[np.int64] | None:
    """A list of `length` counts, or None with the problem noted in `fields`."""
    values = fields.integers(name)
    if values is None:
        return None
    if len(values) != length or sum(values) > MAX_COUNT or min(values, default=0) < 0:
        fields.problem(
            f"{fields.path(name)}: found {len(values)} numbers, expected {length} counts of at least 0 that add up to "
            f"at most {MAX_COUNT}"
        )
        return None
    return np.array(values, np.int64)


def _problems(numbers: dict[str, Any], count: int, bins: Bins) -> list[str]:
    problems = []
    if (numbers["low"], numbers["high"]) != (bins.low, bins.high):
        found = f"{numbers['low']:g}..{numbers['high']:g}"
        problems.append(f"low: found bins over {found}, accepted {bins.low:g}..{bins.high:g}")
    if numbers["squared_deviations"] < 0:
        problems.append(f"squared_deviations: found {numbers['squared_deviations']:g}, accepted at least 0")
    low, high = numbers["minimum"], numbers["maximum"]
    slack = ROUNDING * max(1.0, abs(low), abs(high))  # the mean of equal numbers may be a bit beside them
    if not low <= high or not low - slack <= numbers["mean"] <= high + slack:
        problems.append(f"mean: found {numbers['mean']:g}, which is not between minimum {low:g} and maximum {high:g}")
    others = ("mean", "squared_deviations", "minimum", "maximum")
    if not count and any(numbers[name] for name in others):
        problems.append("counts: all are 0, but the mean or another number is not")
    return problems
