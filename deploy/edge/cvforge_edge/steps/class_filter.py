"""Keeps only some classes of what a model finds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from cvforge_edge.errors import SpecError
from cvforge_edge.frame import Result
from cvforge_edge.types import VOID_CLASS_ID, ClassScores, Detections, SegmentationMap


class ClassFilter:
    """Leaves out objects, and pixels, of other classes; a step for detection and segmentation.

    Args:
        lowest_scores: the class ids that stay, each with the lowest score of its objects (pixels have none).
    """

    def __init__(self, lowest_scores: Mapping[int, float]) -> None:
        self.set_lowest_scores(lowest_scores)
        self._void_others = np.full(256, VOID_CLASS_ID, np.uint8)
        kept = [class_id for class_id in self._lowest_scores if class_id < VOID_CLASS_ID]
        self._void_others[kept] = kept

    def set_lowest_scores(self, lowest_scores: Mapping[int, float]) -> None:
        """From the next frame on, other scores of the same classes; from any thread."""
        self._lowest_scores = dict(lowest_scores)

    def apply(self, result: Result) -> Result:
        """The result without objects of other classes or low scores; pixels of other classes become void.

        Raises:
            SpecError: the prediction is that of a classifier, whose classes belong together.
        """
        if isinstance(result.prediction, ClassScores):
            raise SpecError("class filter: found ClassScores, accepted Detections and SegmentationMap")
        if isinstance(result.prediction, SegmentationMap):
            kept = SegmentationMap(self._void_others[result.prediction.class_map])
            return replace(result, prediction=kept)
        return replace(result, prediction=self._filtered(result.prediction))

    def _filtered(self, detections: Detections) -> Detections:
        keep = np.zeros(len(detections), np.bool_)
        for class_id, lowest_score in self._lowest_scores.items():
            keep |= (detections.class_ids == class_id) & (detections.scores >= np.float32(lowest_score))
        return detections.select(keep)
