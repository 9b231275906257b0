"""Figures of a segmentation: which pixels are taken for which, and the overlap of each class."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from cvforge.html.matrix import Matrix, as_counts
from cvforge.metrics.confusion import class_rates, largest_confusions
from cvforge.metrics.records import PixelRecord
from cvforge.metrics.segmentation import pixel_confusion
from cvforge.report.figures import Figures, ImageScore, share_text

CONFUSIONS_SHOWN = 12


def segmentation_figures(records: Mapping[str, PixelRecord], labels: tuple[str, ...]) -> Figures:
    """What a report shows of a segmentation.

    Args:
        records: of every image.
        labels: class names.
    """
    classes = len(labels)
    counts = pixel_confusion((record.pairs for record in records.values()), classes=classes)
    ious = _ious(counts)
    images = np.sum([_present(record, classes) for record in records.values()], axis=0)
    return Figures(
        charts=(),
        matrix=Matrix(
            "confusion",
            "Confusion matrix",
            labels,
            as_counts(counts.tolist()),
            "pixels",
            "Rows: the true class of a pixel. Columns: the class it was given. Numbers and colour: share of the row; void pixels "
            "are left out.",
            percent=True,
        ),
        findings=(),
        class_header=("class", "share of pixels", "images", "iou", "precision", "recall", "most often taken for"),
        class_rows=_class_rows(counts, ious, images, labels),
        class_note="",
        confusions=tuple((labels[i], labels[j], n) for i, j, n in largest_confusions(counts, CONFUSIONS_SHOWN)),
        image_scores={image_id: _image_score(record, classes) for image_id, record in records.items()},
        image_score_meaning="Of each image: the mean IoU over the classes that occur in it, in the truth or in the answer.",
    )


def _ious(counts: np.ndarray) -> np.ndarray:
    """Intersection over union of each class; NaN for one that does not occur."""
    hits = np.diag(counts).astype(np.float64)
    union = counts.sum(axis=0) + counts.sum(axis=1) - hits
    return np.divide(hits, union, out=np.full(len(hits), np.nan), where=union > 0)


def _present(record: PixelRecord, classes: int) -> np.ndarray:
    """Whether each class occurs in the truth."""
    present = np.zeros(classes, np.int64)
    present[np.unique(record.pairs[0] // 256)] = 1
    return present


def _image_score(record: PixelRecord, classes: int) -> ImageScore:
    ious = _ious(pixel_confusion([record.pairs], classes=classes))
    there = ~np.isnan(ious)
    return ImageScore(float(ious[there].mean()) if there.any() else 1.0, int(there.sum()))


def _class_rows(
    counts: np.ndarray, ious: np.ndarray, images: np.ndarray, labels: tuple[str, ...]
) -> tuple[tuple[str, ...], ...]:
    rates = class_rates(counts)
    pixels = counts.sum(axis=1)
    others = counts.copy()
    np.fill_diagonal(others, 0)
    rows = []
    for k, label in enumerate(labels):
        taken = int(others[k].argmax())
        mistake = f"{labels[taken]} ({others[k, taken] / pixels[k]:.1%})" if others[k, taken] else ""
        numbers = [share_text(value) for value in (ious[k], rates.precision[k], rates.recall[k])]
        rows.append((ious[k], (label, f"{pixels[k] / max(pixels.sum(), 1):.1%}", str(images[k]), *numbers, mistake)))
    return tuple(row for _, row in sorted(rows, key=lambda entry: (entry[0] != entry[0], entry[0])))
