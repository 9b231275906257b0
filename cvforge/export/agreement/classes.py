"""Whether an exported classifier gives images the class that its checkpoint gives them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from cvforge.export.agreement.agreement import Confusion, most_frequent, rounded, share
from cvforge_edge.types import ClassScores

CLOSE_MARGIN = 0.1
"""Probabilities; an image is nearly undecided where the checkpoint gives the file's class this little less than its own."""
MOST = 0.5


@dataclass(frozen=True)
class ClassAgreement:
    """The strongest class of each image, and all probabilities.

    Attributes:
        images: how many were compared.
        same: images with the same strongest class.
        close: of the others, those that the checkpoint was nearly undecided about.
        difference_mean, difference_max: absolute difference of probabilities, over all images and classes.
        confused: the most frequent change of class.
    """

    images: int
    same: int
    close: int
    difference_mean: float
    difference_max: float
    confused: Confusion | None = None

    COLUMNS: ClassVar[tuple[str, ...]] = ("same class", "probability diff.", "largest")
    MEANING: ClassVar[str] = (
        "`same class`: images whose strongest class is the checkpoint's; differences of probabilities (mean, largest) are over "
        "all images and classes."
    )

    @property
    def changed(self) -> int:
        """Images with another strongest class."""
        return self.images - self.same

    def cells(self) -> tuple[str, ...]:
        """The numbers as texts for one row of a table."""
        return f"{self.same} of {self.images}", f"{self.difference_mean:.4f}", f"{self.difference_max:.4f}"

    def summary(self) -> str:
        """What changed, in one line."""
        reasons = [str(self.confused)] if self.confused is not None else []
        if self.close:
            reasons.append(f"the checkpoint was nearly undecided, within {CLOSE_MARGIN:g}, about {self.close} of them")
        why = f" ({'; '.join(reasons)})" if reasons else ""
        return (
            f"{self.changed} of {self.images} images have another class{why}; "
            f"probabilities differ by {self.difference_mean:.4f} on average and up to {self.difference_max:.3f}"
        )

    def hint(self) -> str | None:
        """Where to look when the change is too large; None where the numbers alone do not say it."""
        if not self.changed or self.close < MOST * self.changed:
            return None
        return (
            "most changed images were nearly undecided, so rounding turns them: each counts "
            f"{1 / self.images:.4f} of top-1 here, and more validation images measure the loss more finely"
        )

    def to_value(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return rounded(
            {
                "images": self.images,
                "same_class": share(self.same, self.images),
                "probability_difference_mean": self.difference_mean,
                "probability_difference_max": self.difference_max,
            }
        )


class ClassCounter:
    """Compares two classifiers, image after image; `labels` are class names."""

    def __init__(self, labels: Sequence[str]) -> None:
        self._labels = tuple(labels)
        self._images = self._close = 0
        self._confusions: Counter[tuple[int, int]] = Counter()
        self._difference_sum = self._difference_max = 0.0

    def add(self, expected: ClassScores, found: ClassScores) -> None:
        """Take in what the checkpoint and the file say about one image."""
        difference = np.abs(expected.probs.astype(np.float64) - found.probs)
        self._images += 1
        self._difference_sum += float(difference.mean())
        self._difference_max = max(self._difference_max, float(difference.max()))
        (own, own_probability), (other, _) = expected.top(1)[0], found.top(1)[0]
        if own != other:
            self._confusions[own, other] += 1
            self._close += own_probability - float(expected.probs[other]) <= CLOSE_MARGIN

    def agreement(self) -> ClassAgreement:
        """Of all images taken in."""
        return ClassAgreement(
            images=self._images,
            same=self._images - self._confusions.total(),
            close=self._close,
            difference_mean=self._difference_sum / self._images,
            difference_max=self._difference_max,
            confused=most_frequent(self._confusions, self._labels),
        )
