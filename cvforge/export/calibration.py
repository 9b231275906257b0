"""Which training images the ranges of an int8 file are measured on."""

from __future__ import annotations

from collections.abc import Set
from typing import Any, Protocol

import numpy as np

from cvforge_edge.types import VOID_CLASS_ID, ClassLabel, Detections, SegmentationMap

CANDIDATES_PER_IMAGE = 16
"""How many truths are looked at for each image that is chosen: reading all masks of a large set would take longer than
the calibration."""
NO_OBJECT = -1


class HasTruth(Protocol):
    """A data set whose truth can be asked without opening images."""

    def __len__(self) -> int: ...

    def truth(self, index: int) -> Detections | ClassLabel | SegmentationMap:
        """Boxes, class or class map of one image."""


def choose_calibration(dataset: HasTruth, count: int, *, seed: int = 0) -> list[int]:
    """Positions of images in which every class is about equally often to be seen, rare ones included.

    Classes take turns: the class that the fewest chosen images show gets the next image that shows it. Images without
    any object count as a class of their own, so that a detector's background is measured, too.

    Args:
        dataset: the training set.
        count: how many images; all where there are no more.
        seed: which images, among equally good ones.
    """
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(dataset))[: count * CANDIDATES_PER_IMAGE]
    if len(dataset) <= count:
        return sorted(int(index) for index in order)
    waiting: dict[int, list[int]] = {}
    classes = {int(index): classes_seen(dataset.truth(int(index))) for index in order}
    for index in reversed(classes):  # the last of a list is taken first
        for class_id in classes[index]:
            waiting.setdefault(class_id, []).append(index)
    chosen: set[int] = set()
    shown = dict.fromkeys(sorted(waiting), 0)
    while len(chosen) < count:
        class_id = min(shown, key=lambda c: shown[c])
        index = _next(waiting[class_id], chosen)
        if index is None:
            del shown[class_id]
            continue
        chosen.add(index)
        for other in classes[index]:
            if other in shown:
                shown[other] += 1
    return sorted(chosen)


def classes_seen(truth: Detections | ClassLabel | SegmentationMap) -> tuple[int, ...]:
    """The class ids that an image shows, or `NO_OBJECT` alone."""
    if isinstance(truth, ClassLabel):
        return (truth.class_id,)
    ids = truth.class_ids if isinstance(truth, Detections) else truth.class_map
    found = tuple(int(class_id) for class_id in np.unique(ids) if class_id != VOID_CLASS_ID)
    return found or (NO_OBJECT,)


def _next(waiting: list[int], taken: Set[int]) -> int | None:
    while waiting:
        index = waiting.pop()
        if index not in taken:
            return index
    return None


def calibration_inputs(dataset: Any, preprocess: Any, count: int) -> list[np.ndarray]:
    """Prepared images (h, w, 3) uint8 of the chosen positions, exactly as the device prepares them."""
    return [preprocess.apply(dataset[index].image_bgr)[0] for index in choose_calibration(dataset, count)]
