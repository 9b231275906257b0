"""Which boxes of two predictions for one image show the same object."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from cvforge_edge.boxes import iou_matrix
from cvforge_edge.types import Detections

MATCH_IOU = 0.5
"""Overlap from which two boxes are the same object, as in Pascal VOC."""
Pairs = tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]
"""Indices into the first and into the second prediction."""


def pair_boxes(first: Detections, second: Detections) -> Pairs:
    """Indices of boxes of one class that show the same object: IoU of at least 0.5, one to one.

    Greedy, the largest overlap first, so that a box is never given away to a neighbour while its own copy is there; of equal
    overlaps (doubles in one place) the closer scores.
    """
    overlap = iou_matrix(first.boxes_xyxy, second.boxes_xyxy)
    overlap[first.class_ids[:, None] != second.class_ids[None, :]] = 0
    return _greedy_pairs(overlap, np.abs(first.scores[:, None] - second.scores[None, :]))


def pair_places(first: Detections, second: Detections) -> Pairs:
    """As `pair_boxes`, whatever the classes."""
    overlap = iou_matrix(first.boxes_xyxy, second.boxes_xyxy)
    return _greedy_pairs(overlap, np.abs(first.scores[:, None] - second.scores[None, :]))


def _greedy_pairs(overlap: npt.NDArray[np.float32], gap: npt.NDArray[np.float32]) -> Pairs:
    rows, columns = np.nonzero(overlap >= MATCH_IOU)
    order = np.lexsort((gap[rows, columns], -overlap[rows, columns]))
    free_rows, free_columns = (np.ones(size, np.bool_) for size in overlap.shape)
    chosen = []
    for index in order:
        row, column = rows[index], columns[index]
        if free_rows[row] and free_columns[column]:
            free_rows[row] = free_columns[column] = False
            chosen.append(index)
    return rows[chosen], columns[chosen]
