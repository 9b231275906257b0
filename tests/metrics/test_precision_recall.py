"""Curves and operating points of detections against pycocotools and scikit-learn, on random data."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, precision_recall_curve, precision_recall_fscore_support

from cvforge.metrics.detection import MeanAveragePrecision
from cvforge.metrics.precision_recall import OperatingPoint, PrecisionRecall
from metrics.random_boxes import jittered, random_truth, reference_evaluation

CLASSES = 4
LABELS = tuple("abcd")


def random_pairs(seed: int, images: int = 30) -> list:
    rng = np.random.default_rng(seed)
    truths = [random_truth(rng, CLASSES) for _ in range(images)]
    return [(jittered(truth, rng, num_classes=CLASSES), truth) for truth in truths]


def curves_of(pairs: list, backend: str = "auto") -> dict[int, PrecisionRecall]:
    metric = MeanAveragePrecision(LABELS, backend=backend)
    for i, (prediction, truth) in enumerate(pairs):
        metric.update(prediction, truth, f"{i:04d}")
    return {m.class_id: PrecisionRecall.of_class(m) for m in metric.matches(iou_thresholds=(0.5,))}


@pytest.mark.parametrize("backend", ["hotcoco", "pycocotools"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_curve_of_each_class_is_the_row_of_pycocotools(seed: int, backend: str) -> None:
    pairs = random_pairs(seed)
    expected = reference_evaluation(pairs, CLASSES).eval["precision"][
        0, :, :, 0, 2
    ]  # IoU .5, all areas, 100 detections
    found = curves_of(pairs, backend)
    assert sorted(found) == list(range(CLASSES))
    for class_id, curve in found.items():
        np.testing.assert_allclose(curve.interpolated(), expected[:, class_id], atol=1e-12)


def test_the_mean_of_the_curves_is_map50() -> None:
    pairs = random_pairs(7)
    metric = MeanAveragePrecision(LABELS)
    for i, (prediction, truth) in enumerate(pairs):
        metric.update(prediction, truth, f"{i:04d}")  # of equal scores the earlier image comes first
    means = [curve.interpolated().mean() for curve in curves_of(pairs).values() if curve.objects]
    assert np.mean(means) == pytest.approx(metric.compute()["map50"], abs=1e-9)


def flat(curve: PrecisionRecall) -> tuple[np.ndarray, np.ndarray]:
    """The curve as a problem of two classes: an object that nothing found is a positive with the lowest score."""
    missed = curve.objects - int(curve.matched.sum())
    truth = np.append(curve.matched, np.ones(missed, np.bool_))
    return truth, np.append(curve.scores, np.full(missed, -1.0))


@pytest.mark.parametrize("seed", [3, 4])
def test_operating_points_are_those_of_scikit_learn(seed: int) -> None:
    pooled = PrecisionRecall.pooled(list(curves_of(random_pairs(seed)).values()))
    truth, scores = flat(pooled)
    precision, recall, thresholds = precision_recall_curve(truth, scores)
    shown = thresholds >= 0
    found = pooled.at(thresholds[shown])
    np.testing.assert_allclose(found[0], precision[:-1][shown])
    np.testing.assert_allclose(found[1], recall[:-1][shown])
    best = pooled.best_f1()
    assert best is not None
    f1 = 2 * precision * recall / (precision + recall)
    assert best.f1 == pytest.approx(f1[:-1][shown].max())
    at_best = precision_recall_fscore_support(truth, scores >= best.score_threshold, average="binary")
    assert (best.precision, best.recall, best.f1) == pytest.approx(at_best[:3])


def test_without_interpolation_the_area_is_that_of_scikit_learn() -> None:
    """Independent of COCO: the steps of precision at each object found."""
    curve = curves_of(random_pairs(5))[0]
    truth, scores = flat(curve)
    distinct = PrecisionRecall(np.linspace(1, 0.1, len(curve.scores)), curve.matched, curve.objects)
    ordered = np.append(distinct.scores, scores[len(curve.scores) :])
    precision, recall, _ = distinct.at(distinct.scores)
    steps = np.diff(recall, prepend=0.0)
    left = 1.0 - recall[-1]  # objects that nothing found: scikit-learn lets them come last, all at once
    expected = average_precision_score(truth, ordered) - left * truth.sum() / len(truth)
    assert (precision * steps).sum() == pytest.approx(expected)


def test_nothing_found_has_a_curve_of_zeros_and_no_best_threshold() -> None:
    curve = PrecisionRecall(np.array([0.9, 0.8]), np.zeros(2, np.bool_), 3)
    assert curve.interpolated().tolist() == [0.0] * 101
    assert curve.best_f1() is None
    empty = PrecisionRecall.pooled([])
    assert empty.best_f1() is None
    assert empty.at(np.array([0.5])).tolist() == [[1.0], [0.0], [0.0]]


def test_a_hand_made_curve() -> None:
    curve = PrecisionRecall(np.array([0.9, 0.8, 0.8, 0.3]), np.array([True, False, True, True]), 4)
    assert curve.best_f1() == OperatingPoint(0.3, 0.75, 0.75, 0.75)
    precision, recall, f1 = curve.at(np.array([0.95, 0.9, 0.8, 0.5]))
    assert precision.tolist() == [1.0, 1.0, 2 / 3, 2 / 3]
    assert recall.tolist() == [0.0, 0.25, 0.5, 0.5]
    assert f1.tolist() == [0.0, 0.4, 4 / 7, 4 / 7]
