"""How often the true class is among the strongest one or five, from a list of `ClassScores`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cvforge.metrics.bootstrap import Counts, Resampler, Values
from cvforge_edge.types import ClassLabel, ClassScores, Task


@dataclass(frozen=True)
class RankedTruth:
    """What counts of one image.

    Attributes:
        class_id: the true class.
        rank: of the true class among the predicted ones, 0 for the strongest.
    """

    class_id: int
    rank: int


class TopKAccuracy:
    """`top1`, `top5` and `recall/<label>` over the images seen so far; an image that comes twice counts once.

    `top5` is left out when there are five classes or fewer: it would always be 1. The recall of a class is the share of its
    images whose strongest class it is; a class without images has none, and its key is left out.
    """

    task = Task.CLASSIFICATION
    primary = "top1"

    def __init__(self, labels: tuple[str, ...]) -> None:
        """Start without images; a class id is an index into `labels`."""
        self.labels = tuple(labels)
        self._truths: dict[str, RankedTruth] = {}

    def update(self, prediction: ClassScores, truth: ClassLabel, image_id: str) -> None:
        """Take in one image; what was known about `image_id` is replaced.

        Raises:
            ValueError: the prediction has another number of classes than there are labels, or the true class has none.
        """
        num_classes = len(self.labels)
        if prediction.probs.size != num_classes or not 0 <= truth.class_id < num_classes:
            raise ValueError(
                f"{image_id}: found {prediction.probs.size} probabilities and true class {truth.class_id}, "
                f"but there are {num_classes} labels; is the model of another data set?"
            )
        strongest_first = [class_id for class_id, _ in prediction.top(num_classes)]
        self._truths[image_id] = RankedTruth(truth.class_id, strongest_first.index(truth.class_id))

    def compute(self) -> dict[str, float]:
        """The metrics over all images.

        Raises:
            ValueError: no image was given.
        """
        if not self._truths:
            raise ValueError("top-k accuracy: no image was given; call update() for each image first")
        truths = self._truths.values()
        metrics = {
            f"top{k}": sum(truth.rank < k for truth in truths) / len(truths)
            for k in (1, 5)
            if k == 1 or k < len(self.labels)
        }
        images = np.bincount([truth.class_id for truth in truths], minlength=len(self.labels))
        hits = np.bincount([truth.class_id for truth in truths if truth.rank == 0], minlength=len(self.labels))
        recalls = zip(self.labels, hits, images, strict=True)
        return metrics | {f"recall/{label}": float(hit / count) for label, hit, count in recalls if count}

    def reset(self) -> None:
        """Forget all images."""
        self._truths = {}

    def state(self) -> dict[str, RankedTruth]:
        """What `merge` of another process needs, by image id."""
        return dict(self._truths)

    def merge(self, state: dict[str, RankedTruth]) -> None:
        """Take in the images that another process saw."""
        self._truths.update(state)

    def resampler(self) -> Resampler:
        """Gives `top1` of resampled sets of the images seen so far; see `cvforge.metrics.bootstrap`."""
        hits = np.array([self._truths[key].rank == 0 for key in sorted(self._truths)], np.float64)

        def top1(counts: Counts) -> Values:
            return counts @ hits / counts.sum(axis=1)

        return top1
