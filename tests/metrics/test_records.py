"""A metric that records scores what the bare one scores, and its records are those of the latest evaluation."""

from __future__ import annotations

import numpy as np
import pytest

from cvforge.metrics.classification import TopKAccuracy
from cvforge.metrics.detection import MeanAveragePrecision
from cvforge.metrics.records import BoxRecord, ClassRecord, RecordingMetric, make_record
from cvforge_edge.types import ClassLabel, ClassScores, Detections
from metrics.random_boxes import boxes

LABELS = ("a", "b", "c")


def scores(*probs: float) -> ClassScores:
    return ClassScores(np.array(probs, np.float32))


def test_scores_and_records_of_an_evaluation() -> None:
    metric = RecordingMetric(TopKAccuracy(LABELS))
    assert (metric.primary, metric.labels, metric.latest) == ("top1", LABELS, None)
    metric.update(scores(0.2, 0.7, 0.1), ClassLabel(1), "x")
    metric.update(scores(0.2, 0.7, 0.1), ClassLabel(0), "y")
    assert metric.latest is None
    assert metric.compute()["top1"] == 0.5
    metric.reset()
    latest = metric.latest
    assert latest is not None
    assert list(latest) == ["x", "y"]
    assert latest["y"] == ClassRecord(0, 1, pytest.approx(0.7), pytest.approx(0.2))
    metric.update(scores(0.2, 0.7, 0.1), ClassLabel(1), "z")
    assert metric.latest is None  # a new evaluation goes on: nothing of the old one is kept alive
    assert len(latest) == 2


def test_records_of_another_process_are_merged() -> None:
    one, other = (RecordingMetric(TopKAccuracy(LABELS)) for _ in range(2))
    one.update(scores(1, 0, 0), ClassLabel(0), "x")
    other.update(scores(1, 0, 0), ClassLabel(1), "y")
    one.merge(other.state())
    assert one.compute()["top1"] == 0.5
    assert sorted(one.latest or {}) == ["x", "y"]


def test_boxes_are_recorded_without_copies_and_without_masks() -> None:
    found = Detections(
        np.zeros((1, 4), np.float32), np.ones(1, np.float32), np.zeros(1, np.int64), masks=np.ones((1, 9, 9), np.bool_)
    )
    record = make_record(found, boxes(class_ids=[]))
    assert isinstance(record, BoxRecord)
    assert record.prediction.masks is None
    assert record.prediction.boxes_xyxy is found.boxes_xyxy
    metric = RecordingMetric(MeanAveragePrecision(LABELS))
    metric.update(found, boxes(class_ids=[]), "x")
    assert metric.compute()["map"] == 0.0


def test_a_prediction_of_another_task_is_refused() -> None:
    with pytest.raises(TypeError, match="found a ClassScores for a truth of type Detections"):
        make_record(scores(1, 0), boxes(class_ids=[]))
