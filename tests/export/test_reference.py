"""Reference statistics and class evidence of the scoring pass, against passes of their own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cvforge.evaluation import evaluate
from cvforge.export.reference import EvidenceMetric, StatisticsPredictor
from cvforge.export.torch_backend import TorchBackend
from cvforge.metrics.bootstrap import percentile_interval, resampled_scores
from cvforge_edge.manifest import CHECKPOINT, read_manifest
from cvforge_edge.predictor import Predictor
from cvforge_edge.stats.statistics import Statistics
from cvforge_edge.types import ClassLabel, ClassScores, Detections, SegmentationMap, Task
from export.tiny import LABELS, METRICS, export_tiny, tiny_net, tiny_plan, tiny_scoring


def checkpoint(task: Task) -> Predictor:
    return Predictor(TorchBackend(tiny_net(task)), tiny_plan(task).manifest())


@pytest.mark.parametrize("task", list(Task))
def test_one_pass_gives_the_score_and_the_statistics_of_two(task: Task) -> None:
    scoring, predictor = tiny_scoring(task), checkpoint(task)
    noting = StatisticsPredictor(predictor, scoring.postprocess)
    metric = EvidenceMetric(scoring.metric, len(LABELS))
    found = evaluate(noting, scoring.dataset, metric)
    assert found == scoring.score(predictor.with_postprocess(scoring.postprocess), progress=None)
    expected = Statistics(task, LABELS)
    for index in range(len(scoring.dataset)):
        image = scoring.dataset[index].image_bgr
        expected.add(image, predictor.predict(image))
    assert noting.statistics.to_json() == expected.to_json()
    assert noting.statistics.images == 12


def test_statistics_are_of_what_a_device_reports_not_of_every_candidate() -> None:
    scoring, predictor = tiny_scoring(Task.DETECTION), checkpoint(Task.DETECTION)
    noting = StatisticsPredictor(predictor, scoring.postprocess)
    candidates = noting.predict(scoring.dataset[0].image_bgr)
    assert isinstance(candidates, Detections) and len(candidates) > 1
    objects, scores = noting.statistics.prediction.objects, noting.statistics.prediction.scores
    assert objects is not None and scores is not None
    assert (objects.mean, scores.count) == (1.0, 1)
    assert scores.minimum >= predictor.manifest.postprocess.score_threshold


def test_evidence_counts_pictures_and_objects() -> None:
    def detections(*class_ids: int, crowds: int = 0) -> Detections:
        n = len(class_ids)
        crowd = np.arange(n) >= n - crowds
        boxes = np.tile(np.array([[0, 0, 9, 9]], np.float32), (n, 1))
        return Detections(boxes, np.ones(n, np.float32), np.array(class_ids, np.int64), is_crowd=crowd)

    metric = EvidenceMetric(METRICS[Task.DETECTION](LABELS), 3)
    metric.update(Detections.empty(), detections(0, 0, 2), "1")
    metric.update(Detections.empty(), detections(0, 1, crowds=1), "2")
    metric.update(Detections.empty(), Detections.empty(), "3")
    assert (metric.evidence.objects.tolist(), metric.evidence.images.tolist()) == ([3, 0, 1], [2, 0, 1])
    metric.reset()
    assert metric.evidence.images.tolist() == [0, 0, 0]

    metric = EvidenceMetric(METRICS[Task.CLASSIFICATION](LABELS), 3)
    for name, truth in (("1", 0), ("2", 1), ("3", 0)):
        metric.update(ClassScores(np.array([0.5, 0.3, 0.2], np.float32)), ClassLabel(truth), name)
    assert (metric.evidence.objects.tolist(), metric.evidence.images.tolist()) == ([2, 1, 0], [2, 1, 0])

    metric = EvidenceMetric(METRICS[Task.SEGMENTATION](LABELS), 3)
    predicted = SegmentationMap(np.zeros((2, 2), np.uint8))
    metric.update(predicted, SegmentationMap(np.array([[0, 0], [255, 2]], np.uint8)), "1")
    metric.update(predicted, SegmentationMap(np.array([[0, 0], [255, 255]], np.uint8)), "2")
    assert metric.evidence.images.tolist() == [2, 0, 1]


@pytest.mark.parametrize("task", [Task.DETECTION, Task.SEGMENTATION])
def test_a_bundle_carries_statistics_and_intervals_that_a_device_can_read(tmp_path: Path, task: Task) -> None:
    report = export_tiny(task, tmp_path / "bundle")
    manifest = read_manifest(report.folder)
    statistics = Statistics.from_value(
        dict(manifest.reference_statistics), task=manifest.task, labels=manifest.labels, where="manifest.json"
    )
    assert statistics.images == 12
    scoring = tiny_scoring(task)
    scoring.score(checkpoint(task).with_postprocess(scoring.postprocess), progress=None)
    expected = percentile_interval(resampled_scores(scoring.metric))
    assert manifest.metrics[0].subject == CHECKPOINT
    assert manifest.metrics[0].interval == expected
    assert all(entry.interval is not None for entry in manifest.metrics)
    for verdict in report.verdicts:
        assert verdict.difference is not None
        assert -0.01 < verdict.difference.low <= verdict.difference.high < 0.01
