"""Values that training, evaluation, export, camera and server exchange: frozen, numpy, checked when made."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any, Union

import numpy as np

from cvforge_edge.errors import SpecError
from cvforge_edge.records import dataclass

if TYPE_CHECKING:
    import numpy.typing as npt

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
        n = self.boxes_xyxy.shape[0] if getattr(self.boxes_xyxy, "shape", ()) else 0
        _check("boxes_xyxy", self.boxes_xyxy, (n, 4), np.float32)
        _check("scores", self.scores, (n,), np.float32)
        _check("class_ids", self.class_ids, (n,), np.int64)
        if self.masks is not None:
            _check_axes("masks", self.masks, f"({n}, height, width)", np.bool_, axes=3)
            _check("masks", self.masks, (n, *self.masks.shape[1:]), np.bool_)
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
        _check("probs", self.probs, (np.size(self.probs),), np.float32)

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
        _check_axes("class_map", self.class_map, "(height, width)", np.uint8, axes=2)


@dataclass(frozen=True)
class ClassLabel:
    """The true class of an image."""

    class_id: int


Prediction = Union[ClassScores, Detections, SegmentationMap]
Truth = Union[ClassLabel, Detections, SegmentationMap]


def _check(name: str, array: npt.NDArray[Any], shape: tuple[int, ...], dtype: type[np.generic]) -> None:
    _check_axes(name, array, str(shape), dtype, axes=len(shape))
    if array.shape != shape:
        raise SpecError(f"{name}: found {array.shape} {array.dtype}, expected {shape} {np.dtype(dtype)}")


def _check_axes(name: str, array: npt.NDArray[Any], shape: str, dtype: type[np.generic], *, axes: int) -> None:
    if not isinstance(array, np.ndarray):
        raise SpecError(f"{name}: found {type(array).__name__}, expected an array {shape} {np.dtype(dtype)}")
    if array.ndim != axes or array.dtype != dtype:
        raise SpecError(f"{name}: found {array.shape} {array.dtype}, expected {shape} {np.dtype(dtype)}")
