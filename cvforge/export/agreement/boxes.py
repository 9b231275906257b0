"""Whether an exported detector reports the boxes that its checkpoint reports."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from cvforge.export.agreement.agreement import Confusion, most_frequent, rounded, share
from cvforge.export.agreement.pairs import MATCH_IOU, pair_boxes, pair_places
from cvforge_edge.boxes import iou_matrix
from cvforge_edge.types import Detections

FAINT_SHARE = 0.5
"""Share of the score threshold down to which a box that is not reported is looked for."""
LOW_QUANTILE = 0.05
IN_PLACE_IOU = 0.95
MOVED_IOU = 0.9
MOST = 0.5
MANY = 0.1
"""Share of all boxes; fewer that change their class are no sign of labels in another order."""


@dataclass(frozen=True)
class BoxAgreement:
    """Boxes at or above the score threshold of use, paired within a class; see `cvforge.export.agreement.pairs`.

    Attributes:
        images: how many were compared.
        score_threshold: of use.
        expected: boxes of the checkpoint.
        found: boxes of the file.
        matched: pairs of both.
        relabelled: unpaired boxes of the checkpoint in whose place the file reports another class.
        faint: of the other unpaired ones, those that the file has with at least half the threshold.
        extra_faint: unpaired boxes of the file that the checkpoint has with at least half the threshold.
        iou_mean, iou_low: of pairs; mean and 5th percentile; None without pairs, like the three below.
        score_mean, score_max: mean and largest absolute difference of the scores of pairs.
        score_shift: mean of the file's score minus the checkpoint's.
        confused: the most frequent change of class among the relabelled.
    """

    images: int
    score_threshold: float
    expected: int
    found: int
    matched: int
    relabelled: int
    faint: int
    extra_faint: int
    iou_mean: float | None
    iou_low: float | None
    score_mean: float | None
    score_max: float | None
    score_shift: float | None
    confused: Confusion | None = None

    COLUMNS: ClassVar[tuple[str, ...]] = ("found again", "no partner", "IoU mean", "IoU 5 %", "score diff.", "largest")
    MEANING: ClassVar[str] = (
        "Boxes that a device would report, those of a file paired with the checkpoint's by class and place (IoU of at least "
        f"{MATCH_IOU:g}, best overlap first). `found again`: of the checkpoint's; `no partner`: of the file's; IoU (mean, 5th "
        "percentile) and differences of scores (mean, largest) are those of the pairs."
    )

    @property
    def missing(self) -> int:
        """Boxes of the checkpoint that the file does not report."""
        return self.expected - self.matched

    @property
    def extra(self) -> int:
        """Boxes of the file that the checkpoint does not report."""
        return self.found - self.matched

    def cells(self) -> tuple[str, ...]:
        """The numbers as texts for one row of a table."""
        counts = f"{self.matched} of {self.expected}", f"{self.extra} of {self.found}"
        overlaps = [_text(value, digits=3) for value in (self.iou_mean, self.iou_low)]
        differences = [_text(value, digits=4) for value in (self.score_mean, self.score_max)]
        return (*counts, *overlaps, *differences)

    def summary(self) -> str:
        """What changed, in one line."""
        parts = [
            f"on {self.images} images {self.missing} of {self.expected} boxes of the checkpoint are missing"
            f"{self._reasons()}, {self.extra} of {self.found} boxes have no partner"
        ]
        if self.iou_mean is not None and self.iou_low is not None:
            parts.append(f"pairs overlap by IoU {self.iou_mean:.3f} (5th percentile {self.iou_low:.3f})")
        if self.score_mean is not None and self.score_max is not None and self.score_shift is not None:
            parts.append(
                f"scores differ by {self.score_mean:.3f} on average and up to {self.score_max:.3f} "
                f"(mean shift {self.score_shift:+.3f})"
            )
        return "; ".join(parts)

    def hint(self) -> str | None:
        """Where to look when the change is too large; None where the numbers alone do not say it."""
        if self.relabelled >= max(MOST * self.missing, MANY * self.expected, 1):
            return (
                "most missing boxes are in place under another class: compare the order of the labels, and look at the "
                "layers that only output 'scores' depends on"
            )
        if self.faint and self.faint >= MOST * self.missing:
            if self.extra_faint >= MOST * self.faint:
                return (
                    f"boxes near the score threshold of {self.score_threshold:g} come ({self.extra_faint}) and go "
                    f"({self.faint}): scores became noisier rather than lower"
                )
            lower = FAINT_SHARE * self.score_threshold
            return (
                "most missing boxes are in place with a score below the threshold: look at the layers that only output "
                f"'scores' depends on; with --score-threshold {lower:g} a device reports {self.faint} of them"
            )
        if self.iou_mean is not None and self.iou_mean < MOVED_IOU:
            return "boxes moved: look at the layers that only output 'boxes' depends on"
        if self.matched and not self.missing and not self.extra and (self.iou_low or 0.0) >= IN_PLACE_IOU:
            return (
                "what a device reports hardly changed: a loss of the metric comes from candidates below the score threshold of "
                f"{self.score_threshold:g}, from the order of scores, or from places that moved by a few percent"
            )
        return None

    def to_value(self) -> dict[str, Any]:
        """Plain values for JSON; undefined ones are left out."""
        return rounded(
            {
                "images": self.images,
                "checkpoint_boxes": self.expected,
                "boxes": self.found,
                "found_again": share(self.matched, self.expected),
                "without_partner": share(self.extra, self.found),
                "missing_relabelled": share(self.relabelled, self.missing),
                "missing_faint": share(self.faint, self.missing),
                "extra_faint": share(self.extra_faint, self.extra),
                "iou_mean": self.iou_mean,
                "iou_p5": self.iou_low,
                "score_difference_mean": self.score_mean,
                "score_difference_max": self.score_max,
                "score_shift": self.score_shift,
            }
        )

    def _reasons(self) -> str:
        reasons = []
        if self.relabelled:
            reasons.append(f"{self.relabelled} have another class, {self.confused}")
        if self.faint:
            reasons.append(f"{self.faint} score below the threshold of {self.score_threshold:g}")
        return f" ({'; '.join(reasons)})" if reasons else ""


class BoxCounter:
    """Compares two detectors, image after image.

    Args:
        labels: class names.
        score_threshold: of use; boxes below it are not reported, and only explain what is missing.
    """

    def __init__(self, labels: Sequence[str], score_threshold: float) -> None:
        self._labels = tuple(labels)
        self._threshold = score_threshold
        self._counts: Counter[str] = Counter()
        self._confusions: Counter[tuple[int, int]] = Counter()
        self._overlaps: list[npt.NDArray[np.float32]] = []
        self._shifts: list[npt.NDArray[np.float64]] = []

    def add(self, expected: Detections, found: Detections) -> None:
        """Take in what the checkpoint and the file say about one image, down to faint boxes."""
        expected, expected_faint = self._split(expected)
        found, found_faint = self._split(found)
        rows, columns = pair_boxes(expected, found)
        overlap = iou_matrix(expected.boxes_xyxy, found.boxes_xyxy)[rows, columns]
        self._overlaps.append(overlap)
        self._shifts.append(found.scores[columns].astype(np.float64) - expected.scores[rows])
        self._counts.update(images=1, expected=len(expected), found=len(found), matched=len(rows))
        missing, extra = _others(expected, rows), _others(found, columns)
        rows, columns = pair_places(missing, extra)
        changes = zip(missing.class_ids[rows].tolist(), extra.class_ids[columns].tolist(), strict=True)
        self._confusions.update(changes)
        lost = pair_boxes(_others(missing, rows), found_faint)[0]
        new = pair_boxes(_others(extra, columns), expected_faint)[0]
        self._counts.update(relabelled=len(rows), faint=len(lost), extra_faint=len(new))

    def agreement(self) -> BoxAgreement:
        """Of all images taken in."""
        return BoxAgreement(
            score_threshold=self._threshold,
            confused=most_frequent(self._confusions, self._labels),
            **_pair_numbers(np.concatenate(self._overlaps), np.concatenate(self._shifts)),
            **self._counts,
        )

    def _split(self, detections: Detections) -> tuple[Detections, Detections]:
        """Reported boxes, and fainter ones."""
        reported = detections.scores >= np.float32(self._threshold)
        return detections.select(reported), detections.select(~reported)


def _pair_numbers(overlaps: npt.NDArray[np.float32], shifts: npt.NDArray[np.float64]) -> dict[str, Any]:
    if not len(overlaps):
        return dict.fromkeys(("iou_mean", "iou_low", "score_mean", "score_max", "score_shift"))
    differences = np.abs(shifts)
    return {
        "iou_mean": float(overlaps.mean(dtype=np.float64)),
        "iou_low": float(np.quantile(overlaps.astype(np.float64), LOW_QUANTILE)),
        "score_mean": float(differences.mean()),
        "score_max": float(differences.max()),
        "score_shift": float(shifts.mean()),
    }


def _others(detections: Detections, indices: npt.NDArray[np.intp]) -> Detections:
    keep = np.ones(len(detections), np.bool_)
    keep[indices] = False
    return detections.select(keep)


def _text(value: float | None, *, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"
