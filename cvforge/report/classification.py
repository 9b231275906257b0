"""Figures of a classifier: which classes are taken for which, and whether its probabilities mean what they say."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from cvforge.html.chart import Chart, Line
from cvforge.html.matrix import Matrix, as_counts
from cvforge.metrics.calibration import Reliability, reliability
from cvforge.metrics.confusion import class_confusion, class_rates, largest_confusions
from cvforge.metrics.records import ClassRecord
from cvforge.report.figures import Figures, ImageScore, share_text

CONFUSIONS_SHOWN = 12


def classification_figures(records: Mapping[str, ClassRecord], labels: tuple[str, ...]) -> Figures:
    """What a report shows of a classifier.

    Args:
        records: of every image.
        labels: class names.
    """
    true = np.array([record.true for record in records.values()], np.int64)
    predicted = np.array([record.predicted for record in records.values()], np.int64)
    probabilities = np.array([record.probability for record in records.values()], np.float64)
    counts = class_confusion(true, predicted, classes=len(labels))
    calibration = reliability(probabilities, true == predicted)
    return Figures(
        charts=(_reliability_chart(calibration), _coverage_chart(probabilities, true == predicted)),
        matrix=Matrix(
            "confusion",
            "Confusion matrix",
            labels,
            as_counts(counts.tolist()),
            "images",
            "Rows: the true class. Columns: the strongest class of the model. Colour: share of the row.",
        ),
        findings=(_calibration_text(calibration),),
        class_header=("class", "images", "recall", "precision", "F1", "most often taken for"),
        class_rows=_class_rows(counts, labels),
        class_note="",
        confusions=tuple((labels[i], labels[j], n) for i, j, n in largest_confusions(counts, CONFUSIONS_SHOWN)),
        image_scores={i: ImageScore(r.probability_of_truth, r.probability) for i, r in records.items()},
        image_score_meaning="Of each image: the probability that the model gives to the true class.",
        values={
            "calibration_error": calibration.error,
        },
    )


def _reliability_chart(calibration: Reliability) -> Chart:
    points = tuple(zip(calibration.confidence.tolist(), calibration.accuracy.tolist(), strict=True))
    return Chart(
        "reliability",
        f"Reliability, expected calibration error {calibration.error:.3f}",
        "probability of the strongest class",
        "share that is right",
        (Line("the model", points, "strong"), Line("as it should be", ((0.0, 0.0), (1.0, 1.0)), "reference")),
        (0.0, 1.0),
        (0.0, 1.02),
        "Below the diagonal the model is surer than it is right, above it the other way round. Bins of equal width.",
    )


def _coverage_chart(probabilities: np.ndarray, right: np.ndarray) -> Chart:
    """What remains, and how much of it is right, when unsure answers are refused."""
    order = np.argsort(-probabilities, kind="stable")
    share = np.arange(1, len(order) + 1) / len(order)
    accuracy = np.cumsum(right[order]) / np.arange(1, len(order) + 1)
    shown = np.unique(np.linspace(0, len(order) - 1, 101).astype(int))
    points = tuple(zip(share[shown].tolist(), accuracy[shown].tolist(), strict=True))
    return Chart(
        "coverage",
        "Accuracy when unsure answers are refused",
        "share of images answered, the surest first",
        "share that is right",
        (Line("the model", points, "strong"),),
        (0.0, 1.0),
        (min(0.9, max(0.0, float(accuracy[shown].min()) - 0.05)), 1.01),
    )


def _calibration_text(calibration: Reliability) -> str:
    mean = np.average(calibration.confidence, weights=calibration.counts)
    right = np.average(calibration.accuracy, weights=calibration.counts)
    verdict = "surer than it is right" if mean > right else "less sure than it could be"
    return (
        f"Expected calibration error {calibration.error:.3f}: on average the model says {mean:.1%} and is right in {right:.1%} "
        f"of the images, so it is {verdict}."
    )


def _class_rows(counts: np.ndarray, labels: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
    rates = class_rates(counts)
    images = counts.sum(axis=1)
    others = counts.copy()
    np.fill_diagonal(others, 0)
    rows = []
    for k, label in enumerate(labels):
        taken = int(others[k].argmax())
        mistake = f"{labels[taken]} ({others[k, taken]})" if others[k, taken] else ""
        numbers = [share_text(value) for value in (rates.recall[k], rates.precision[k], rates.f1[k])]
        rows.append((rates.recall[k], (label, str(images[k]), *numbers, mistake)))
    return tuple(row for _, row in sorted(rows, key=lambda entry: (entry[0] != entry[0], entry[0])))
