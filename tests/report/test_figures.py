"""The figures of each task against scikit-learn and pycocotools, and which images are called best and worst."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, confusion_matrix, jaccard_score, recall_score

from cvforge.metrics.records import BoxRecord, ClassRecord, make_record
from cvforge.report.classification import classification_figures
from cvforge.report.detection import detection_figures
from cvforge.report.figures import Figures, ImageScore
from cvforge.report.history import epochs_done, history_charts
from cvforge.report.segmentation import segmentation_figures
from cvforge_edge.types import SegmentationMap
from metrics.random_boxes import boxes, jittered, random_truth, reference_evaluation

LABELS = tuple("abcd")


def box_records(seed: int) -> dict[str, BoxRecord]:
    rng = np.random.default_rng(seed)
    truths = [random_truth(rng, 4) for _ in range(25)]
    return {f"{i:03d}": BoxRecord(jittered(t, rng, num_classes=4), t) for i, t in enumerate(truths)}


def test_a_detectors_curves_and_classes_are_those_of_pycocotools() -> None:
    records = box_records(0)
    evaluation = reference_evaluation([(r.prediction, r.truth) for r in records.values()], 4)
    precision = evaluation.eval["precision"][0, :, :, 0, 2]
    figures = detection_figures(records, LABELS, scores={"ap/a": 0.25}, score_threshold=0.4)
    mean, *lines = figures.charts[0].lines
    np.testing.assert_allclose([y for _, y in mean.points], precision.mean(axis=1), atol=1e-9)
    np.testing.assert_allclose(figures.values["mean_precision"], precision.mean(axis=1), atol=1e-5)
    for k, line in enumerate(lines):
        np.testing.assert_allclose([y for _, y in line.points], precision[:, k], atol=1e-9)
    rows = {row[0]: row for row in figures.class_rows}
    assert [rows[label][4] for label in LABELS] == [f"{precision[:, k].mean():.3f}" for k in range(4)]
    assert [row[4] for row in figures.class_rows] == sorted(row[4] for row in figures.class_rows)
    assert rows["a"][3] == "0.250"
    counted = [
        [int((t.class_ids[~t.is_crowd] == k).sum()) for t in (r.truth for r in records.values())] for k in range(4)
    ]
    assert [rows[label][1] for label in LABELS] == [str(sum(of_class)) for of_class in counted]


def test_a_detectors_matrix_counts_every_object_and_every_sure_box() -> None:
    records = box_records(1)
    figures = detection_figures(records, LABELS, scores={}, score_threshold=0.4)
    counts = np.array(figures.matrix.counts)
    truths = np.concatenate([r.truth.class_ids[~r.truth.is_crowd] for r in records.values()])
    np.testing.assert_array_equal(counts[:4].sum(axis=1), np.bincount(truths, minlength=4))
    sure = np.concatenate([r.prediction.class_ids[r.prediction.scores >= np.float32(0.4)] for r in records.values()])
    inside_crowds = np.bincount(sure, minlength=4) - counts[:, :4].sum(axis=0)
    assert (inside_crowds >= 0).all()
    assert counts[4, 4] == 0
    assert "score of at least 0.4" in figures.matrix.note
    assert "overlap of 0.5" in figures.matrix.note


def test_images_are_ordered_by_f1_and_then_by_what_there_was_to_do() -> None:
    two = boxes((0, 0, 10, 10), (50, 50, 60, 60), class_ids=[0, 1])
    one, none = boxes((0, 0, 10, 10), class_ids=[0]), boxes(class_ids=[])
    wrong_class = boxes((0, 0, 10, 10), class_ids=[1])
    records = {
        "both": BoxRecord(two, two),
        "one": BoxRecord(one, one),
        "half": BoxRecord(one, two),
        "empty": BoxRecord(none, none),
        "wrong": BoxRecord(wrong_class, one),
        "missed": BoxRecord(none, two),
    }
    figures = detection_figures(records, LABELS, scores={}, score_threshold=0.5)
    assert {i: found.score for i, found in figures.image_scores.items()} == {
        "both": 1.0, "one": 1.0, "half": pytest.approx(2 / 3), "empty": 1.0, "wrong": 0.0, "missed": 0.0,
    }  # fmt: skip
    assert figures.worst(2) == ["missed", "wrong"]
    assert figures.best(3) == ["both", "one", "empty"]


def test_the_best_are_none_of_the_worst() -> None:
    scores = {name: ImageScore(score, 1) for name, score in (("a", 0.1), ("b", 0.2), ("c", 0.9))}
    figures = Figures((), None, (), (), (), "", (), scores, "")  # type: ignore[arg-type]
    assert (figures.worst(2), figures.best(2)) == (["a", "b"], ["c"])


def test_a_detector_that_finds_nothing_has_figures() -> None:
    records = {"x": BoxRecord(boxes(class_ids=[]), boxes((0, 0, 9, 9), class_ids=[1]))}
    figures = detection_figures(records, LABELS, scores={}, score_threshold=0.3)
    assert figures.values["best_f1"] is None
    assert "no threshold" in figures.findings[0]
    assert figures.class_rows[0] == ("b", "1", "1", "", "0.000", "", "", "", "")


def class_records(seed: int) -> dict[str, ClassRecord]:
    rng = np.random.default_rng(seed)
    records = {}
    for i in range(300):
        true = int(rng.integers(0, 4))
        predicted = true if rng.random() < 0.7 else int(rng.integers(0, 4))
        probability = float(rng.uniform(0.3, 1))
        records[f"{i:03d}"] = ClassRecord(true, predicted, probability, probability if true == predicted else 0.1)
    return records


def test_a_classifiers_figures_are_those_of_scikit_learn() -> None:
    records = class_records(0)
    figures = classification_figures(records, LABELS)
    true, predicted = ([getattr(r, side) for r in records.values()] for side in ("true", "predicted"))
    expected = confusion_matrix(true, predicted)
    assert figures.matrix.counts == tuple(map(tuple, expected.tolist()))
    recalls = recall_score(true, predicted, average=None)
    rows = {row[0]: row for row in figures.class_rows}
    assert [rows[label][2] for label in LABELS] == [f"{recall:.3f}" for recall in recalls]
    coverage = figures.charts[1].lines[0].points
    assert coverage[-1] == (1.0, pytest.approx(accuracy_score(true, predicted)))
    sure = [
        i
        for i, r in enumerate(records.values())
        if r.probability >= np.median([r.probability for r in records.values()])
    ]
    half = min(coverage, key=lambda point: abs(point[0] - 0.5))
    at_half = accuracy_score(np.array(true)[sure], np.array(predicted)[sure])
    assert half[1] == pytest.approx(at_half, abs=0.02)
    mistakes = expected - np.diag(np.diag(expected))
    assert figures.confusions[0][2] == mistakes.max()
    assert figures.worst(1)[0] == min(records, key=lambda i: (records[i].probability_of_truth, -records[i].probability))


def test_a_segmentations_figures_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(3)
    maps = {}
    for i in range(4):
        true = rng.integers(0, 3, (12, 16), np.uint8)
        maps[f"{i}"] = (np.where(rng.random(true.shape) < 0.2 * i, rng.integers(0, 4), true).astype(np.uint8), true)
    records = {i: make_record(SegmentationMap(found), SegmentationMap(true)) for i, (found, true) in maps.items()}
    figures = segmentation_figures(records, LABELS)  # type: ignore[arg-type]
    found, true = (np.concatenate([pair[side].ravel() for pair in maps.values()]) for side in (0, 1))
    expected = confusion_matrix(true, found, labels=range(4))
    assert figures.matrix.counts == tuple(map(tuple, expected.tolist()))
    rows = {row[0]: row for row in figures.class_rows}
    ious = jaccard_score(true, found, labels=range(4), average=None, zero_division=0)
    there = [label for k, label in enumerate(LABELS) if expected[k].sum() + expected[:, k].sum()]
    assert [rows[label][3] for label in there] == [f"{ious[LABELS.index(label)]:.3f}" for label in there]
    for i, (one, truth) in maps.items():
        occurring = sorted(set(np.unique(one)) | set(np.unique(truth)))
        mean = jaccard_score(truth.ravel(), one.ravel(), labels=occurring, average="macro", zero_division=0)
        assert figures.image_scores[i].score == pytest.approx(mean)
    assert figures.best(1) == ["0"]


def test_steps_become_epochs_also_where_batches_of_a_resumed_run_are_larger() -> None:
    rows = [
        {"epoch": 0.0, "step": 4.0, "train/loss": 3.0},
        {"epoch": 0.0, "step": 9.0, "val/map": 0.1},
        {"epoch": 1.0, "step": 14.0, "val/map": 0.3},
        {"epoch": 2.0, "step": 16.0, "train/loss": 1.0},
    ]
    assert epochs_done(rows, np.array([4.0, 9.0, 14.0])).tolist() == [0.5, 1.0, 2.0]
    losses, scores = history_charts(rows, primary="map")
    assert scores.lines[0].points == ((1.0, 0.1), (2.0, 0.3))
    assert [y for _, y in losses.lines[0].points] == [3.0, 1.0]


def test_a_validation_after_the_end_belongs_to_the_last_epoch() -> None:
    rows = [
        {"epoch": 0.0, "step": 4.0, "train/loss": 3.0},
        {"epoch": 1.0, "step": 9.0, "train/loss": 2.0},
        {"epoch": 2.0, "step": 10.0, "val/map": 0.3},  # as Lightning logs what is validated when training is over
    ]
    losses, scores = history_charts(rows, primary="map", total_steps=10)
    assert [x for x, _ in losses.lines[0].points] == [1.0, 2.0]
    assert scores.lines[0].points == ((2.0, 0.3),)


def test_long_histories_are_averaged_in_groups() -> None:
    rows = [{"epoch": 0.0, "step": float(step), "train/loss": float(step % 2)} for step in range(5000)]
    (chart,) = history_charts(rows, primary="map")
    assert len(chart.lines[0].points) == 250
    assert {y for _, y in chart.lines[0].points} == {0.5}
