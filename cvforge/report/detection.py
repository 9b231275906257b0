"""Figures of a detector: precision against recall, scores to choose a threshold by, which objects are taken for which."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from cvforge.html.chart import COLOURS, Chart, Line
from cvforge.html.matrix import Matrix, as_counts
from cvforge.metrics.confusion import BoxPairs, box_confusion, largest_confusions, pair_boxes
from cvforge.metrics.confusion import Matrix as Counts
from cvforge.metrics.detection import MeanAveragePrecision
from cvforge.metrics.precision_recall import OperatingPoint, PrecisionRecall
from cvforge.metrics.records import BoxRecord
from cvforge.metrics.resampled_precision import RECALL_POINTS
from cvforge.report.figures import Figures, ImageScore, share_text

IOU = 0.5
BACKGROUND = "background"
THRESHOLDS = np.linspace(0.0, 1.0, 101)
CLASSES_DRAWN = 60
"""Of more classes those with the lowest precision are drawn."""
CONFUSIONS_SHOWN = 12
IMAGE_SCORE_MEANING = (
    "Of each image: F1 of its boxes at the score threshold {:g} (a box is right when it lies on an object of its class with an "
    f"overlap of at least {IOU:g}); of equal ones the image with more boxes comes first."
)
Curves = dict[int, PrecisionRecall]


def detection_figures(
    records: Mapping[str, BoxRecord], labels: tuple[str, ...], *, scores: Mapping[str, float], score_threshold: float
) -> Figures:
    """What a report shows of a detector.

    Args:
        records: of every image.
        labels: class names.
        scores: of the same validation; `ap/<label>` goes into the table of classes.
        score_threshold: of use; confusion matrix and images are judged with it.
    """
    curves = _curves(records, labels)
    pooled = PrecisionRecall.pooled(list(curves.values()))
    best = pooled.best_f1()
    pairs = {
        image_id: pair_boxes(r.prediction, r.truth, iou_threshold=IOU, score_threshold=score_threshold)
        for image_id, r in records.items()
    }
    names = (*labels, BACKGROUND)
    counts = box_confusion(((r.prediction, r.truth, pairs[i]) for i, r in records.items()), classes=len(labels))
    with_objects = {k: curve for k, curve in curves.items() if curve.objects}
    mean = _mean_curve(list(with_objects.values()))
    return Figures(
        charts=(_precision_chart(with_objects, mean, labels), _threshold_chart(pooled, score_threshold)),
        matrix=_matrix(counts, names, score_threshold),
        findings=_findings(best, pooled, score_threshold),
        class_header=("class", "objects", "images", "ap", "ap50", "best threshold", "precision", "recall", "F1"),
        class_rows=_class_rows(records, curves, labels, scores),
        class_note=f"Precision, recall and F1 of a class are those at its best threshold, by F1, with an overlap of {IOU:g}.",
        confusions=tuple((names[i], names[j], n) for i, j, n in largest_confusions(counts, CONFUSIONS_SHOWN)),
        image_scores={image_id: _image_score(records[image_id], found) for image_id, found in pairs.items()},
        image_score_meaning=IMAGE_SCORE_MEANING.format(score_threshold),
        values={
            "iou_threshold": IOU,
            "score_threshold": score_threshold,
            "mean_precision": [round(float(p), 5) for p in mean],
            "best_f1": None if best is None else vars(best),
        },
    )


def _curves(records: Mapping[str, BoxRecord], labels: tuple[str, ...]) -> Curves:
    metric = MeanAveragePrecision(labels)
    for image_id, record in records.items():
        metric.update(record.prediction, record.truth, image_id)
    return {m.class_id: PrecisionRecall.of_class(m) for m in metric.matches(iou_thresholds=(IOU,))}


def _mean_curve(curves: list[PrecisionRecall]) -> npt.NDArray[np.float64]:
    """At COCO's recalls; zeros where there is no object at all."""
    return np.mean([curve.interpolated() for curve in curves], axis=0) if curves else np.zeros(len(RECALL_POINTS))


def _precision_chart(curves: Curves, mean: npt.NDArray[np.float64], labels: tuple[str, ...]) -> Chart:
    lines = []
    means = {k: curve.interpolated() for k, curve in curves.items()}
    drawn = sorted(sorted(means, key=lambda k: means[k].mean())[:CLASSES_DRAWN])
    kind = "line" if len(drawn) < COLOURS else "thin"
    for k in drawn:
        name = f"{labels[k]} {means[k].mean():.3f}"
        lines.append(Line(name, tuple(zip(RECALL_POINTS.tolist(), means[k].tolist(), strict=True)), kind))
    points = tuple(zip(RECALL_POINTS.tolist(), mean.tolist(), strict=True))
    strong = Line(f"all classes {mean.mean():.3f}", points, "strong")
    drawn_note = f" Drawn are the {CLASSES_DRAWN} lowest classes." if len(means) > CLASSES_DRAWN else ""
    thin_note = " Each thin line is a class; its name shows where the pointer rests on it." if kind == "thin" else ""
    return Chart(
        "precision-recall",
        f"Precision against recall, overlap {IOU:g}",
        "recall",
        "precision",
        (*lines, strong) if kind == "thin" else (strong, *lines),
        (0.0, 1.0),
        (0.0, 1.02),
        "As COCO draws it: the best precision at each recall or beyond. Numbers are average precisions (ap50)."
        f"{drawn_note}{thin_note}",
    )


def _threshold_chart(pooled: PrecisionRecall, score_threshold: float) -> Chart:
    precision, recall, f1 = (
        tuple(zip(THRESHOLDS.tolist(), row.tolist(), strict=True)) for row in pooled.at(THRESHOLDS)
    )
    used = Line(f"threshold of use {score_threshold:g}", ((score_threshold, 0.0), (score_threshold, 1.0)), "reference")
    return Chart(
        "thresholds",
        "What a score threshold gives",
        "score threshold",
        "all classes together",
        (Line("F1", f1, "strong"), Line("precision", precision), Line("recall", recall), used),
        (0.0, 1.0),
        (0.0, 1.02),
        "Boxes of all classes together, each held against objects of its own class.",
    )


def _matrix(counts: Counts, names: tuple[str, ...], score_threshold: float) -> Matrix:
    return Matrix(
        "confusion",
        "Confusion matrix",
        names,
        as_counts(counts.tolist()),
        "boxes",
        f"Rows: what is there. Columns: what was reported with a score of at least {score_threshold:g}. A box is on an object, "
        f"whatever its class, from an overlap of {IOU:g}, the largest overlap first, each once. Column {BACKGROUND}: objects "
        f"that were missed; row {BACKGROUND}: boxes on nothing. Colour: share of the row.",
    )


def _findings(best: OperatingPoint | None, pooled: PrecisionRecall, score_threshold: float) -> tuple[str, ...]:
    if best is None:
        return ("No detection found an object with an overlap of one half: there is no threshold to choose.",)
    now = pooled.at(np.array([score_threshold]))[:, 0]
    return (
        f"Best score threshold, by F1 over all classes: {best.score_threshold:.3f} (F1 {best.f1:.3f}, precision "
        f"{best.precision:.3f}, recall {best.recall:.3f}). The threshold of use, "
        f"postprocess.score_threshold={score_threshold:g}, gives F1 {now[2]:.3f}, precision {now[0]:.3f}, recall {now[1]:.3f}.",
    )


def _class_rows(
    records: Mapping[str, BoxRecord], curves: Curves, labels: tuple[str, ...], scores: Mapping[str, float]
) -> tuple[tuple[str, ...], ...]:
    classes = [record.truth.class_ids for record in records.values()]
    images = np.bincount(np.concatenate([np.zeros(0, np.int64), *map(np.unique, classes)]), minlength=len(labels))
    rows = []
    for k, label in enumerate(labels):
        curve = curves.get(k)
        there = curve is not None and curve.objects > 0
        ap50 = curve.interpolated().mean() if curve is not None and there else float("nan")
        best = curve.best_f1() if curve is not None and there else None
        point = (
            [""] * 4
            if best is None
            else [f"{x:.3f}" for x in (best.score_threshold, best.precision, best.recall, best.f1)]
        )
        objects = str(curve.objects if curve is not None else 0)
        ap = share_text(scores.get(f"ap/{label}", float("nan")))
        rows.append((ap50, (label, objects, str(images[k]), ap, share_text(ap50), *point)))
    return tuple(row for _, row in sorted(rows, key=lambda entry: (entry[0] != entry[0], entry[0])))


def _image_score(record: BoxRecord, found: BoxPairs) -> ImageScore:
    paired = found.pairs
    right = int((record.prediction.class_ids[paired[:, 0]] == record.truth.class_ids[paired[:, 1]]).sum())
    boxes = 2 * len(paired) + len(found.extra) + len(found.missed)
    return ImageScore(2 * right / boxes if boxes else 1.0, boxes)
