"""Mean intersection over union of class maps, from a list of `SegmentationMap`s."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from cvforge.metrics.bootstrap import Counts, Resampler, Values
from cvforge_edge.types import VOID_CLASS_ID, SegmentationMap, Task

CountedPairs = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]


class MeanIoU:
    """`miou`, `pixel_accuracy` and `iou/<label>` over all pixels seen so far; an image that comes twice counts once.

    Pixels whose truth is void (255) are not scored. A class that occurs neither in a truth nor in a prediction has no
    IoU: its key is left out and `miou` is the mean over the others. A class that is predicted but never true has IoU 0.
    Source: Everingham et al. 2015, The Pascal VOC Challenge, section 4.3 (one confusion matrix over the data set).
    """

    task = Task.SEGMENTATION
    primary = "miou"

    def __init__(self, labels: tuple[str, ...]) -> None:
        """Start without images; a class id is an index into `labels`."""
        self.labels = tuple(labels)
        self._images: dict[str, CountedPairs] = {}

    def update(self, prediction: SegmentationMap, truth: SegmentationMap, image_id: str) -> None:
        """Take in one image; what was known about `image_id` is replaced.

        Raises:
            ValueError: the two maps differ in size, or a class id has no label.
        """
        predicted, true = prediction.class_map, truth.class_map
        if predicted.shape != true.shape:
            raise ValueError(f"{image_id}: prediction is {predicted.shape} but truth {true.shape} (height, width)")
        pairs, counts = counted_pairs(prediction, truth)
        highest = int(max(pairs.max() // 256, (pairs % 256).max())) if pairs.size else 0
        if highest >= len(self.labels):
            raise ValueError(f"{image_id}: found class id {highest}, but there are {len(self.labels)} labels")
        self._images[image_id] = (pairs, counts)

    def compute(self) -> dict[str, float]:
        """The metrics over all images.

        Raises:
            ValueError: no image was given, or every pixel is void.
        """
        confusion = self._confusion()
        if not confusion.any():
            raise ValueError("mean IoU: no image with a labelled pixel was given; call update() for each image first")
        hits = np.diag(confusion).astype(np.float64)
        union = confusion.sum(0) + confusion.sum(1) - hits
        ious = {label: float(hits[k] / union[k]) for k, label in enumerate(self.labels) if union[k]}
        metrics = {"miou": float(np.mean(list(ious.values()))), "pixel_accuracy": float(hits.sum() / confusion.sum())}
        metrics.update({f"iou/{label}": iou for label, iou in ious.items()})
        return metrics

    def reset(self) -> None:
        """Forget all images."""
        self._images = {}

    def state(self) -> dict[str, CountedPairs]:
        """What `merge` of another process needs: by image id, codes true * 256 + predicted and their pixel counts."""
        return dict(self._images)

    def merge(self, state: dict[str, CountedPairs]) -> None:
        """Take in the images that another process saw."""
        self._images.update(state)

    def resampler(self) -> Resampler:
        """Gives `miou` of resampled sets of the images seen so far; see `cvforge.metrics.bootstrap`."""
        classes = len(self.labels)
        hits, unions = (np.zeros((len(self._images), classes)) for _ in range(2))
        for row, key in enumerate(sorted(self._images)):
            pairs, pixels = self._images[key]
            true, predicted = pairs // 256, pairs % 256
            np.add.at(hits[row], true[true == predicted], pixels[true == predicted])
            np.add.at(unions[row], true, pixels)
            np.add.at(unions[row], predicted[true != predicted], pixels[true != predicted])

        def miou(counts: Counts) -> Values:
            union = counts @ unions
            there = union > 0
            iou = np.divide(counts @ hits, union, out=np.zeros_like(union), where=there)
            defined = there.sum(axis=1)
            return np.divide(iou.sum(axis=1), defined, out=np.full(len(counts), np.nan), where=defined > 0)

        return miou

    def _confusion(self) -> npt.NDArray[np.int64]:
        return pixel_confusion(self._images.values(), classes=len(self.labels))


def counted_pairs(prediction: SegmentationMap, truth: SegmentationMap) -> CountedPairs:
    """Codes true * 256 + predicted of the pixels of one image that are not void, ascending, and their pixel counts."""
    predicted, true = prediction.class_map, truth.class_map
    scored = true != VOID_CLASS_ID
    counts = np.bincount(true[scored].astype(np.int64) * 256 + predicted[scored], minlength=256 * 256)
    pairs = np.flatnonzero(counts)
    return pairs, counts[pairs]


def pixel_confusion(images: Iterable[CountedPairs], *, classes: int) -> npt.NDArray[np.int64]:
    """Pixel counts (true class, predicted class) over images."""
    confusion = np.zeros((256, 256), np.int64)
    for pairs, counts in images:
        confusion.ravel()[pairs] += counts
    return confusion[:classes, :classes]
