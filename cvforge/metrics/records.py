"""What a validation saw, kept beside its scores, so that the figures of a report need no second pass of the network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from cvforge.metrics.segmentation import CountedPairs, counted_pairs
from cvforge_edge.types import ClassLabel, ClassScores, Detections, Prediction, SegmentationMap, Truth


class Metric(Protocol):
    """A metric of `cvforge.metrics`, or of a user."""

    primary: str
    labels: tuple[str, ...]

    def update(self, prediction: Any, truth: Any, image_id: str) -> None:
        """Take in one image."""

    def compute(self) -> dict[str, float]:
        """The scores over all images."""

    def reset(self) -> None:
        """Forget all images."""

    def state(self) -> Any:
        """What another process merges."""

    def merge(self, state: Any) -> None:
        """Take in the images of another process."""


@dataclass(frozen=True, eq=False)
class BoxRecord:
    """The objects of one image, found and true; arrays that the metric holds as well, so they cost little."""

    prediction: Detections
    truth: Detections


@dataclass(frozen=True)
class ClassRecord:
    """What a classifier said about one image.

    Attributes:
        true: class id.
        predicted: id of its strongest class.
        probability: of the strongest class.
        probability_of_truth: of the true one.
    """

    true: int
    predicted: int
    probability: float
    probability_of_truth: float


@dataclass(frozen=True, eq=False)
class PixelRecord:
    """How many pixels of one image are of which class and were taken for which; see `counted_pairs`."""

    pairs: CountedPairs


Record = BoxRecord | ClassRecord | PixelRecord
Records = Mapping[str, Record]
"""By image id."""


class RecordingMetric:
    """A metric that also remembers, in little room, what it was told.

    Attributes:
        latest: the records of the latest complete evaluation; None before one, and while another goes on.
    """

    def __init__(self, metric: Metric) -> None:
        self.metric = metric
        self.primary = metric.primary
        self.labels = metric.labels
        self.latest: Records | None = None
        self._images: dict[str, Record] = {}

    def update(self, prediction: Prediction, truth: Truth, image_id: str) -> None:
        """Take in one image; what was known about `image_id` is replaced."""
        self.latest = None
        self.metric.update(prediction, truth, image_id)
        self._images[image_id] = make_record(prediction, truth)

    def compute(self) -> dict[str, float]:
        """The scores over all images; their records are the latest then."""
        scores = self.metric.compute()
        self.latest = self._images
        return scores

    def reset(self) -> None:
        """Forget all images; the latest records stay until the next image comes."""
        self.metric.reset()
        self._images = {}

    def state(self) -> tuple[Any, dict[str, Record]]:
        """What `merge` of another process needs."""
        return self.metric.state(), self._images

    def merge(self, state: tuple[Any, dict[str, Record]]) -> None:
        """Take in the images that another process saw."""
        self.metric.merge(state[0])
        self._images.update(state[1])


def make_record(prediction: Prediction, truth: Truth) -> Record:
    """What a report needs of one image.

    Raises:
        TypeError: the prediction and the truth are not of one task.
    """
    if isinstance(prediction, Detections) and isinstance(truth, Detections):
        return BoxRecord(_without_masks(prediction), _without_masks(truth))
    if isinstance(prediction, ClassScores) and isinstance(truth, ClassLabel):
        predicted, probability = prediction.top(1)[0]
        return ClassRecord(truth.class_id, predicted, probability, float(prediction.probs[truth.class_id]))
    if isinstance(prediction, SegmentationMap) and isinstance(truth, SegmentationMap):
        return PixelRecord(counted_pairs(prediction, truth))
    raise TypeError(f"record: found a {type(prediction).__name__} for a truth of type {type(truth).__name__}")


def _without_masks(detections: Detections) -> Detections:
    return Detections(detections.boxes_xyxy, detections.scores, detections.class_ids, is_crowd=detections.is_crowd)
