"""Resampled scores against the metric computed anew on each set, and intervals against SciPy and a known truth."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scipy.stats

from conftest import REPOSITORY
from cvforge.metrics.bootstrap import (
    MIN_IMAGES,
    RESAMPLES,
    RESAMPLES_BY_DEFINITION,
    percentile_interval,
    resample_by_definition,
    resampled_scores,
)
from cvforge.metrics.classification import RankedTruth, TopKAccuracy
from cvforge.metrics.detection import MeanAveragePrecision
from cvforge.metrics.segmentation import MeanIoU
from cvforge_edge.interval import ScoreInterval
from cvforge_edge.types import ClassLabel, ClassScores, Detections, SegmentationMap

LABELS = ("a", "b", "c", "never")


def classified(images: int, *, seed: int = 0) -> TopKAccuracy:
    rng = np.random.default_rng(seed)
    metric = TopKAccuracy(LABELS)
    for index in range(images):
        probs = rng.dirichlet(np.ones(4)).astype(np.float32)
        metric.update(ClassScores(probs), ClassLabel(int(rng.integers(0, 3))), f"{index}.png")
    return metric


def segmented(images: int, *, seed: int = 0) -> MeanIoU:
    rng = np.random.default_rng(seed)
    metric = MeanIoU(LABELS)
    for index in range(images):
        true = rng.integers(0, 3 if index else 4, (8, 8)).astype(np.uint8)
        predicted = np.where(rng.random((8, 8)) < 0.6, true, rng.integers(0, 3, (8, 8))).astype(np.uint8)
        true[rng.random((8, 8)) < 0.1] = 255
        if index % 5 == 1:
            true[:] = 255
        metric.update(SegmentationMap(predicted), SegmentationMap(true), f"{index}.png")
    return metric


def detected(images: int, *, seed: int = 0, backend: str = "auto", score_steps: int = 0) -> MeanAveragePrecision:
    rng = np.random.default_rng(seed)
    metric = MeanAveragePrecision(LABELS, backend=backend)
    for index in range(images):
        n = int(rng.integers(0, 6))
        corner, size = rng.random((n, 2)) * 200, np.exp(rng.uniform(2, 5, (n, 2)))
        truth = Detections(
            np.concatenate([corner, corner + size], 1).astype(np.float32),
            np.ones(n, np.float32),
            rng.integers(0, 3, n) if index else np.full(n, 3),
            is_crowd=rng.random(n) < 0.2,
        )
        copies = truth.select(np.tile(np.arange(n), 3))
        moved = copies.boxes_xyxy + rng.normal(0, 6, (3 * n, 4)).astype(np.float32)
        moved[:, 2:] = np.maximum(moved[:, 2:], moved[:, :2] + 1)
        scores = rng.random(3 * n)
        if score_steps:  # every detection of an image scores the same, and images share scores
            scores = np.full(3 * n, rng.integers(1, score_steps) / score_steps)
        metric.update(Detections(moved, scores.astype(np.float32), copies.class_ids), truth, f"{index:02d}.png")
    return metric


MAKERS: dict[type, Callable[..., Any]] = {
    TopKAccuracy: classified,
    MeanIoU: segmented,
    MeanAveragePrecision: detected,
}


def metric_classes() -> list[type]:
    """Every metric of the package, found by listing its folder."""
    found = []
    for path in sorted((REPOSITORY / "cvforge" / "metrics").glob("[!_]*.py")):
        module = importlib.import_module(f"cvforge.metrics.{path.stem}")
        classes = inspect.getmembers(module, inspect.isclass)
        found += [kind for _, kind in classes if hasattr(kind, "primary") and kind.__module__ == module.__name__]
    return found


def counts(images: int, rows: int) -> np.ndarray:
    rng = np.random.default_rng(9)
    drawn = np.stack([np.bincount(rng.integers(0, images, images), minlength=images) for _ in range(rows)])
    everything_once = np.ones((1, images), np.int64)
    one_image_only = np.eye(images, dtype=np.int64)[1:4] * images
    return np.concatenate([everything_once, drawn, one_image_only]).astype(np.int32)


@pytest.mark.parametrize("kind", metric_classes(), ids=lambda kind: kind.__name__)
def test_every_metric_resamples_exactly_as_if_computed_on_each_set(kind: type) -> None:
    for seed in range(3):
        metric = MAKERS[kind](17, seed=seed)
        drawn = counts(17, 25)
        found = metric.resampler()(drawn)
        assert found[0] == pytest.approx(metric.compute()[metric.primary], abs=1e-12)
        assert found == pytest.approx(resample_by_definition(metric)(drawn), abs=1e-12, nan_ok=True)


@pytest.mark.parametrize("backend", ["hotcoco", "pycocotools"])
def test_detections_resample_equally_with_both_backends(backend: str, capsys: pytest.CaptureFixture[str]) -> None:
    drawn = counts(12, 10)
    metric = detected(12, backend=backend)
    assert metric.resampler()(drawn) == pytest.approx(resample_by_definition(metric)(drawn), abs=1e-12)
    assert metric.resampler()(drawn).tolist() == detected(12).resampler()(drawn).tolist()
    assert capsys.readouterr().out == ""


def test_detections_of_equal_scores_in_different_images_keep_the_order_of_the_images() -> None:
    metric, drawn = detected(15, score_steps=4), counts(15, 25)
    once = drawn.clip(0, 1)  # no image twice: then equal scores have one order only
    assert metric.resampler()(once) == pytest.approx(resample_by_definition(metric)(once), abs=1e-12)


def test_no_object_and_no_detection_resample_to_zero() -> None:
    metric = MeanAveragePrecision(LABELS)
    for index in range(10):
        metric.update(Detections.empty(), Detections.empty(), str(index))
    assert metric.resampler()(counts(10, 3)).tolist() == [0.0] * 7
    assert percentile_interval(resampled_scores(metric)) == ScoreInterval(0.0, 0.0, 0.95)


def test_the_interval_of_an_accuracy_agrees_with_scipy() -> None:
    metric = classified(150, seed=4)
    hits = np.array([truth.rank == 0 for truth in metric.state().values()], float)
    expected = scipy.stats.bootstrap(
        (hits,), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    found = percentile_interval(resampled_scores(metric))
    assert found is not None
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.015)
    assert found.high - found.low == pytest.approx(2 * 1.96 * hits.std() / np.sqrt(len(hits)), rel=0.1)


def test_the_paired_interval_of_a_difference_agrees_with_scipy() -> None:
    first = classified(120, seed=5)
    second = TopKAccuracy(LABELS)
    ranks = first.state()
    for index, key in enumerate(sorted(ranks)):  # a few answers get worse, a few better
        rank = 1 if index % 20 == 0 else 0 if index % 50 == 1 else ranks[key].rank
        ranks[key] = replace(ranks[key], rank=rank)
    second.merge(ranks)
    differences = resampled_scores(second) - resampled_scores(first)
    hits = [np.array([metric.state()[key].rank == 0 for key in sorted(ranks)], float) for metric in (first, second)]
    expected = scipy.stats.bootstrap(
        tuple(hits),
        lambda a, b, axis: (b - a).mean(axis=axis),
        paired=True,
        vectorized=True,
        n_resamples=20_000,
        method="percentile",
        rng=np.random.default_rng(2),
    ).confidence_interval
    found = percentile_interval(differences)
    assert found is not None
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.005)
    alone = percentile_interval(resampled_scores(first))
    assert alone is not None
    assert found.high - found.low < 0.7 * (alone.high - alone.low)


def test_a_model_compared_with_itself_differs_by_nothing() -> None:
    metric = detected(14)
    again = detected(14)
    assert percentile_interval(resampled_scores(metric) - resampled_scores(again)) == ScoreInterval(0.0, 0.0, 0.95)


def test_the_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(6)
    held = 0
    for _ in range(200):
        metric = TopKAccuracy(LABELS)
        metric.merge({str(index): RankedTruth(0, int(rank)) for index, rank in enumerate(rng.random(80) > 0.7)})
        interval = percentile_interval(resampled_scores(metric, resamples=300))
        assert interval is not None
        held += interval.low <= 0.7 <= interval.high
    assert 180 <= held <= 198


def test_draws_depend_on_the_seed_and_the_number_of_images_alone() -> None:
    metric = classified(30)
    shuffled = TopKAccuracy(LABELS)
    shuffled.merge(dict(reversed(metric.state().items())))
    first = resampled_scores(metric)
    assert first is not None and len(first) == RESAMPLES
    assert resampled_scores(shuffled).tolist() == first.tolist()
    assert resampled_scores(metric, seed=1).tolist() != first.tolist()
    assert resampled_scores(metric, resamples=150).tolist() == first[:150].tolist()


def test_a_metric_of_a_user_is_computed_anew_and_one_that_cannot_be_resampled_has_no_interval() -> None:
    class Median:
        primary = "median"

        def __init__(self) -> None:
            self.values: dict[str, float] = {}

        def reset(self) -> None:
            self.values = {}

        def state(self) -> dict[str, float]:
            return dict(self.values)

        def merge(self, state: dict[str, float]) -> None:
            self.values.update(state)

        def compute(self) -> dict[str, float]:
            return {"median": float(np.median(list(self.values.values())))}

    metric = Median()
    metric.merge({str(index): float(index) for index in range(40)})
    found = resampled_scores(metric)
    assert found is not None and len(found) == RESAMPLES_BY_DEFINITION
    assert 5 < found.min() < 19.5 < found.max() < 34
    assert len(metric.values) == 40
    assert resampled_scores(object()) is None


def test_too_few_images_have_no_interval() -> None:
    assert resampled_scores(classified(MIN_IMAGES - 1)) is None
    assert resampled_scores(classified(MIN_IMAGES)) is not None
    assert percentile_interval(None) is None
    assert percentile_interval(np.array([np.nan, np.nan])) is None


def test_undefined_resamples_do_not_count() -> None:
    assert percentile_interval(np.array([np.nan, 0.25, 0.25])) == ScoreInterval(0.25, 0.25, 0.95)
    found = percentile_interval(np.arange(101.0), level=0.9)
    assert found is not None
    assert (found.low, found.high) == pytest.approx((5.0, 95.0))
