"""Only some classes, and only sure ones."""

from __future__ import annotations

import numpy as np
import pytest

from cvforge_edge.errors import SpecError
from cvforge_edge.steps.class_filter import ClassFilter
from cvforge_edge.types import ClassScores, Detections, SegmentationMap
from edge.sink_results import result


def test_objects_of_other_classes_and_low_scores_are_left_out():
    boxes = np.arange(20, dtype=np.float32).reshape(5, 4)
    found = Detections(boxes, np.array([0.9, 0.5, 0.3, 0.6, 0.59], np.float32), np.array([2, 0, 0, 1, 1], np.int64))
    kept = ClassFilter({0: 0.0, 1: 0.6}).apply(result(prediction=found)).prediction
    assert kept.boxes_xyxy.tolist() == boxes[[1, 2, 3]].tolist()
    assert len(found) == 5


def test_pixels_of_other_classes_become_void():
    class_map = np.array([[0, 1, 2], [255, 1, 0]], np.uint8)
    kept = ClassFilter({1: 0.5}).apply(result(prediction=SegmentationMap(class_map))).prediction
    assert kept.class_map.tolist() == [[255, 1, 255], [255, 1, 255]]


def test_a_classifier_is_refused():
    with pytest.raises(SpecError, match="found ClassScores, accepted Detections and SegmentationMap"):
        ClassFilter({0: 0.5}).apply(result(prediction=ClassScores(np.ones(2, np.float32))))
