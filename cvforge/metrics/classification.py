"""How often the true class is among the strongest one or five, from a list of `ClassScores`."""

from __future__ import annotations

import numpy as np

from cvforge.metrics.bootstrap import Counts, Resampler, Values
from cvforge_edge.types import ClassLabel, ClassScores, Task


class TopKAccuracy:
    """`top1` and `top5` over the images seen so far; an image that comes twice counts once.

    `top5` is left out when there are five classes or fewer: it would always be 1.
    """

    task = Task.CLASSIFICATION
    primary = "top1"

    def __init__(self, labels: tuple[str, ...]) -> None:
        """Start without images; a class id is an index into `labels`."""
        self.labels = tuple(labels)
        self._true_class_ranks: dict[str, int] = {}

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
        self._true_class_ranks[image_id] = strongest_first.index(truth.class_id)

    def compute(self) -> dict[str, float]:
        """The metrics over all images.

        Raises:
            ValueError: no image was given.
        """
        if not self._true_class_ranks:
            raise ValueError("top-k accuracy: no image was given; call update() for each image first")
        ranks = self._true_class_ranks.values()
        return {
            f"top{k}": sum(rank < k for rank in ranks) / len(ranks) for k in (1, 5) if k == 1 or k < len(self.labels)
        }

    def reset(self) -> None:
        """Forget all images."""
        self._true_class_ranks = {}

    def state(self) -> dict[str, int]:
        """What `merge` of another process needs: the rank of the true class by image id, 0 for the strongest."""
        return dict(self._true_class_ranks)

    def merge(self, state: dict[str, int]) -> None:
        """Take in the images that another process saw."""
        self._true_class_ranks.update(state)

    def resampler(self) -> Resampler:
        """Gives `top1` of resampled sets of the images seen so far; see `cvforge.metrics.bootstrap`."""
        hits = np.array([self._true_class_ranks[key] == 0 for key in sorted(self._true_class_ranks)], np.float64)

        def top1(counts: Counts) -> Values:
            return counts @ hits / counts.sum(axis=1)

        return top1
