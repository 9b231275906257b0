"""Values that training, evaluation, export, camera and server exchange: frozen, numpy, checked when made."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any, Union

import numpy as np
import numpy.typing as npt

from cvforge_edge.errors import SpecError

VOID_CLASS_ID = 255
"""Class id of a segmentation pixel that belongs to no class; it is neither trained on nor scored."""


class Task(str, Enum):
    """What a model predicts."""

    CLASSIFICATION = "classification"
    DETECTION = "detection"
    SEGMENTATION = "segmentation"


@dataclass(frozen=True, eq=False)
class Detections:
    """The objects of one image, found by a model or drawn by an annotator.

    Attributes:
        boxes_xyxy: (n, 4) float32, x1 y1 x2 y2 in pixels of the original image.
        scores: (n,) float32 in [0, 1]; 1 for ground truth.
        class_ids: (n,) int64, index into the labels.
        masks: (n, h, w) bool in the original image, or None.
        track_ids: (n,) int64, or None.
        is_crowd: (n,) bool, ground truth only: regions that stand for many objects (COCO `iscrowd`), or None.
        areas: (n,) float32, ground truth only: object area in pixels as the annotation states it, or None.
    """

    boxes_xyxy: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]
    class_ids: npt.NDArray[np.int64]
    masks: npt.NDArray[np.bool_] | None = None
    track_ids: npt.NDArray[np.int64] | None = None
    is_crowd: npt.NDArray[np.bool_] | None = None
    areas: npt.NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        n = len(self.boxes_xyxy)
        _check("boxes_xyxy", self.boxes_xyxy, (n, 4), np.float32)
        _check("scores", self.scores, (n,), np.float32)
        _check("class_ids", self.class_ids, (n,), np.int64)
        if self.masks is not None and (self.masks.ndim != 3 or len(self.masks) != n or self.masks.dtype != np.bool_):
            raise SpecError(
                f"masks: found {self.masks.shape} {self.masks.dtype}, expected ({n}, height, width) bool; "
                "give one mask for each box"
            )
        if self.track_ids is not None:
            _check("track_ids", self.track_ids, (n,), np.int64)
        if self.is_crowd is not None:
            _check("is_crowd", self.is_crowd, (n,), np.bool_)
        if self.areas is not None:
            _check("areas", self.areas, (n,), np.float32)

    def __len__(self) -> int:
        return len(self.boxes_xyxy)

    @classmethod
    def empty(cls) -> Detections:
        """An image without objects."""
        return cls(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))

    def select(self, keep: npt.NDArray[np.bool_] | npt.NDArray[np.int64]) -> Detections:
        """The objects that a boolean mask or an index array names, in that order."""
        return Detections(
            boxes_xyxy=self.boxes_xyxy[keep],
            scores=self.scores[keep],
            class_ids=self.class_ids[keep],
            masks=None if self.masks is None else self.masks[keep],
            track_ids=None if self.track_ids is None else self.track_ids[keep],
            is_crowd=None if self.is_crowd is None else self.is_crowd[keep],
            areas=None if self.areas is None else self.areas[keep],
        )


@dataclass(frozen=True, eq=False)
class ClassScores:
    """How strongly an image belongs to each class.

    Attributes:
        probs: (c,) float32 in [0, 1], in the order of the labels.
    """

    probs: npt.NDArray[np.float32]

    def __post_init__(self) -> None:
        _check("probs", self.probs, (self.probs.size,), np.float32)

    def top(self, count: int) -> list[tuple[int, float]]:
        """The `count` strongest (class id, probability) pairs, strongest first."""
        order = np.argsort(-self.probs, kind="stable")[:count]
        return [(int(i), float(self.probs[i])) for i in order]


@dataclass(frozen=True, eq=False)
class SegmentationMap:
    """The class of every pixel.

    Attributes:
        class_map: (h, w) uint8, class id of each pixel of the original image; 255 is void.
    """

    class_map: npt.NDArray[np.uint8]

    def __post_init__(self) -> None:
        if self.class_map.ndim != 2 or self.class_map.dtype != np.uint8:
            raise SpecError(
                f"class_map: found {self.class_map.shape} {self.class_map.dtype}, expected (height, width) uint8"
            )


Prediction = Union[ClassScores, Detections, SegmentationMap]


def _check(name: str, array: npt.NDArray[Any], shape: tuple[int, ...], dtype: type[np.generic]) -> None:
    if array.shape != shape or array.dtype != dtype:
        raise SpecError(f"{name}: found {array.shape} {array.dtype}, expected {shape} {np.dtype(dtype)}")
