"""Which class is taken for which: confusion matrices, and what they say about each class."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cvforge_edge.boxes import box_areas, iou_matrix
from cvforge_edge.types import Detections

Matrix = npt.NDArray[np.int64]
"""(true class, predicted class) counts."""


@dataclass(frozen=True, eq=False)
class ClassRates:
    """What a confusion matrix says about each class; NaN where there is nothing to divide by.

    Attributes:
        precision: (c,) share of what was called this class that is of it.
        recall: (c,) share of this class that was called it.
        f1: (c,) harmonic mean of both.
    """

    precision: npt.NDArray[np.float64]
    recall: npt.NDArray[np.float64]
    f1: npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class BoxPairs:
    """The boxes of one image, paired; indices into its detections and its truth.

    Attributes:
        pairs: (n, 2) detection and object that lie on each other.
        extra: (m,) detections on no object.
        missed: (k,) objects under no detection.
    """

    pairs: npt.NDArray[np.int64]
    extra: npt.NDArray[np.int64]
    missed: npt.NDArray[np.int64]


def class_confusion(true: npt.NDArray[np.int64], predicted: npt.NDArray[np.int64], *, classes: int) -> Matrix:
    """Counts of the pairs of two equally long lists of class ids."""
    return np.bincount(true * classes + predicted, minlength=classes * classes).reshape(classes, classes)


def class_rates(matrix: Matrix) -> ClassRates:
    """Precision, recall and F1 of the classes of a square matrix."""
    hits = np.diag(matrix).astype(np.float64)
    true, predicted = matrix.sum(axis=1), matrix.sum(axis=0)
    return ClassRates(_share(hits, predicted), _share(hits, true), _share(2 * hits, true + predicted))


def largest_confusions(matrix: Matrix, count: int) -> list[tuple[int, int, int]]:
    """The (true class, predicted class, how often) of the most frequent mistakes, most frequent first."""
    mistakes = matrix.copy()
    np.fill_diagonal(mistakes, 0)
    order = np.argsort(-mistakes, axis=None, kind="stable")[:count]
    places = [(int(place) // len(matrix), int(place) % len(matrix)) for place in order]
    return [(true, predicted, int(matrix[true, predicted])) for true, predicted in places if mistakes[true, predicted]]


def pair_boxes(prediction: Detections, truth: Detections, *, iou_threshold: float, score_threshold: float) -> BoxPairs:
    """Detections and objects that lie on each other, whatever their classes: the largest overlap first, each once.

    Regions that stand for many objects (`is_crowd`) are no objects; detections that lie in one by `iou_threshold` of
    their own area, and on no object, are left out.

    Args:
        prediction: of one image.
        truth: of the same image.
        iou_threshold: overlap from which boxes lie on each other.
        score_threshold: detections below it are left out.
    """
    kept = np.flatnonzero(prediction.scores >= score_threshold)
    crowd = truth.is_crowd if truth.is_crowd is not None else np.zeros(len(truth), np.bool_)
    objects = np.flatnonzero(~crowd)
    overlaps = iou_matrix(prediction.boxes_xyxy[kept], truth.boxes_xyxy[objects])
    rows, columns = np.nonzero(overlaps >= iou_threshold)
    order = np.argsort(-overlaps[rows, columns], kind="stable")
    free_rows, free_columns = np.ones(len(kept), np.bool_), np.ones(len(objects), np.bool_)
    pairs = []
    for row, column in zip(rows[order], columns[order], strict=True):
        if free_rows[row] and free_columns[column]:
            free_rows[row] = free_columns[column] = False
            pairs.append((kept[row], objects[column]))
    extra = kept[free_rows]
    if crowd.any():
        inside = _share_inside(prediction.boxes_xyxy[extra], truth.boxes_xyxy[crowd])
        extra = extra[inside.max(axis=1) < iou_threshold]
    return BoxPairs(np.array(pairs, np.int64).reshape(-1, 2), extra, objects[free_columns])


def box_confusion(images: Iterable[tuple[Detections, Detections, BoxPairs]], *, classes: int) -> Matrix:
    """(c + 1, c + 1) counts; the last row holds detections on no object, the last column objects that were missed.

    Args:
        images: prediction, truth and their pairs (`pair_boxes`) of each image.
        classes: how many there are; the background becomes the class after them.
    """
    matrix = np.zeros((classes + 1, classes + 1), np.int64)
    for prediction, truth, found in images:
        np.add.at(matrix, (truth.class_ids[found.pairs[:, 1]], prediction.class_ids[found.pairs[:, 0]]), 1)
        np.add.at(matrix, (classes, prediction.class_ids[found.extra]), 1)
        np.add.at(matrix, (truth.class_ids[found.missed], classes), 1)
    return matrix


def _share(part: npt.NDArray[np.float64], whole: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    return np.divide(part, whole, out=np.full(len(part), np.nan), where=whole > 0)


def _share_inside(boxes: npt.NDArray[np.float32], regions: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """(n, m) share of the area of each box that lies in each region."""
    top_left = np.maximum(boxes[:, None, :2], regions[None, :, :2])
    sides = np.maximum(np.minimum(boxes[:, None, 2:], regions[None, :, 2:]) - top_left, 0)
    return sides[..., 0] * sides[..., 1] / np.maximum(box_areas(boxes), np.float32(1e-9))[:, None]
