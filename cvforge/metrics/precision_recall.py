"""Precision against recall of detections, and the score threshold where both are best, by class and for all together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cvforge.metrics.resampled_precision import RECALL_POINTS, ClassMatches


@dataclass(frozen=True)
class OperatingPoint:
    """What a score threshold gives: every detection with at least this score is reported."""

    score_threshold: float
    precision: float
    recall: float
    f1: float


@dataclass(frozen=True, eq=False)
class PrecisionRecall:
    """Detections at one overlap threshold, best first; those that COCO ignores are left out.

    Attributes:
        scores: (d,) float64, falling.
        matched: (d,) bool, whether it found an object that none before it had found.
        objects: how many there were to find.
    """

    scores: npt.NDArray[np.float64]
    matched: npt.NDArray[np.bool_]
    objects: int

    @classmethod
    def of_class(cls, matches: ClassMatches, *, threshold_index: int = 0) -> PrecisionRecall:
        """Of one class, at one of the overlap thresholds that it was matched with."""
        counts = ~matches.ignored[threshold_index]
        return cls(matches.scores[counts], matches.matched[threshold_index][counts], int(matches.objects.sum()))

    @classmethod
    def pooled(cls, classes: Sequence[PrecisionRecall]) -> PrecisionRecall:
        """Of the detections of several classes together; each still has to find an object of its own class."""
        scores = np.concatenate([np.zeros(0), *(part.scores for part in classes)])
        matched = np.concatenate([np.zeros(0, np.bool_), *(part.matched for part in classes)])
        order = np.argsort(-scores, kind="stable")
        return cls(scores[order], matched[order], sum(part.objects for part in classes))

    def interpolated(self) -> npt.NDArray[np.float64]:
        """The best precision at each of COCO's 101 recalls 0, 0.01 ... 1 or beyond; 0 where no score reaches it.

        Their mean is the average precision. Source: pycocotools, `COCOeval.accumulate`.
        """
        found = np.cumsum(self.matched)
        precision = found / (np.arange(1, len(found) + 1) + np.spacing(1))
        best = np.maximum.accumulate(precision[::-1])[::-1]
        places = np.searchsorted(found / max(self.objects, 1), RECALL_POINTS, side="left")
        return np.append(best, 0.0)[np.minimum(places, len(best))]

    def at(self, score_thresholds: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """(3, n) precision, recall and F1 at n score thresholds; precision is 1 where nothing is reported."""
        reported = np.searchsorted(-self.scores, -np.asarray(score_thresholds), side="right")
        found = np.append(0, np.cumsum(self.matched))[reported]
        precision = np.where(reported > 0, found / np.maximum(reported, 1), 1.0)
        return np.stack((precision, found / max(self.objects, 1), 2 * found / np.maximum(reported + self.objects, 1)))

    def best_f1(self) -> OperatingPoint | None:
        """The threshold with the highest F1, the highest such; None where no detection found anything."""
        if not self.matched.any():
            return None
        thresholds = np.unique(self.scores)[::-1]
        precision, recall, f1 = self.at(thresholds)
        best = int(f1.argmax())
        return OperatingPoint(float(thresholds[best]), float(precision[best]), float(recall[best]), float(f1[best]))
