"""COCO's mean average precision on many resampled sets of images, from one matching of boxes.

Which detection matches which object is a matter of one image, so it does not change when the image is drawn again; only
counts do. An image that is drawn twice counts twice in every sum, which gives the numbers that COCO evaluation of the
resampled set would give, copies of an image standing side by side. (Detections of exactly equal score are ordered at will
by any implementation.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

RECALL_POINTS = np.linspace(0.0, 1.0, 101)
"""Where COCO reads precision off; it uses this very expression."""


@dataclass(frozen=True, eq=False)
class ClassMatches:
    """The detections of one class in all images, best first, and what they matched.

    Attributes:
        class_id: of the class.
        scores: (d,) float64, falling.
        images: (d,) int64, position of the image of each detection.
        matched: (t, d) bool, whether it matched an object, for each overlap threshold.
        ignored: (t, d) bool, whether it counts neither as right nor as wrong.
        objects: (n,) int64, objects of the class in each image that count.
    """

    class_id: int
    scores: npt.NDArray[np.float64]
    images: npt.NDArray[np.int64]
    matched: npt.NDArray[np.bool_]
    ignored: npt.NDArray[np.bool_]
    objects: npt.NDArray[np.int64]


class MatchCollector:
    """Turns the image entries of a COCO evaluation (`evalImgs`, of pycocotools or hotcoco) into arrays, part by part.

    Args:
        num_images: in the data set; image ids are 1..num_images, those of classes begin with 1, too.
        num_thresholds: overlap thresholds of the evaluation.
    """

    def __init__(self, num_images: int, num_thresholds: int) -> None:
        self._num_images, self._shape = num_images, (num_thresholds, -1)
        self._parts: dict[int, list[_ImageMatches]] = {}

    def add(self, entries: Sequence[dict[str, Any] | None]) -> None:
        """Take in the entries of some images, all of one area range."""
        for entry in entries:
            if entry is not None:
                self._parts.setdefault(int(entry["category_id"]), []).append(self._compact(entry))

    def by_class(self) -> list[ClassMatches]:
        """The matches of each class that occurs."""
        return [self._join(category_id - 1, parts) for category_id, parts in sorted(self._parts.items())]

    def _compact(self, entry: dict[str, Any]) -> _ImageMatches:
        return _ImageMatches(
            image=int(entry["image_id"]) - 1,
            scores=np.asarray(entry["dtScores"], np.float64),
            matched=np.asarray(entry["dtMatches"], np.float64).reshape(self._shape) > 0,
            ignored=np.asarray(entry["dtIgnore"], np.bool_).reshape(self._shape),
            objects=sum(not ignored for ignored in entry["gtIgnore"]),
        )

    def _join(self, class_id: int, parts: list[_ImageMatches]) -> ClassMatches:
        parts = sorted(parts, key=lambda part: part.image)
        images = np.array([part.image for part in parts])
        objects = np.zeros(self._num_images, np.int64)
        objects[images] = [part.objects for part in parts]
        scores = np.concatenate([part.scores for part in parts])
        order = np.argsort(-scores, kind="stable")
        return ClassMatches(
            class_id=class_id,
            scores=scores[order],
            images=np.repeat(images, [len(part.scores) for part in parts])[order],
            matched=np.concatenate([part.matched for part in parts], axis=1)[:, order],
            ignored=np.concatenate([part.ignored for part in parts], axis=1)[:, order],
            objects=objects,
        )


@dataclass(frozen=True, eq=False)
class _ImageMatches:
    """The detections (d) of one class in one image: scores (d,), matched and ignored (t, d), and its objects that count."""

    image: int
    scores: npt.NDArray[np.float64]
    matched: npt.NDArray[np.bool_]
    ignored: npt.NDArray[np.bool_]
    objects: int


def resampled_map(classes: Sequence[ClassMatches], counts: npt.NDArray[np.int32]) -> npt.NDArray[np.float64]:
    """Mean average precision over classes and overlap thresholds of each resampled set.

    A class without object in a resampled set has no precision there and is left out of its mean; a set without any
    object has 0, as in `MeanAveragePrecision`.

    Args:
        classes: one entry a class that occurs.
        counts: (r, n) how often each image was drawn.

    Returns:
        (r,) values in 0..1.
    """
    weights = counts.astype(np.float64)
    total, defined = np.zeros(len(counts)), np.zeros(len(counts))
    for matches in classes:
        objects = weights @ matches.objects
        there = objects > 0
        total[there] += _mean_precision(matches, weights[there], objects[there])
        defined += there
    return np.divide(total, defined, out=np.zeros_like(total), where=defined > 0)


def _mean_precision(
    matches: ClassMatches, weights: npt.NDArray[np.float64], objects: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Average precision of one class, averaged over the thresholds, (r,)."""
    drawn = weights[:, matches.images]  # (r, d)
    reported = np.cumsum(drawn, axis=1)
    total = np.zeros(len(weights))
    for matched, ignored in zip(matches.matched, matches.ignored, strict=True):
        right = np.flatnonzero(matched & ~ignored)
        if not right.size:
            continue
        seen = reported if not ignored.any() else np.cumsum(np.where(ignored, 0.0, drawn), axis=1)
        found = np.cumsum(drawn[:, right], axis=1)  # (r, p)
        total += _average_precision(found, seen[:, right], objects)
    return total / len(matches.matched)


def _average_precision(
    found: npt.NDArray[np.float64], seen: npt.NDArray[np.float64], objects: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Precision at COCO's 101 recall points, averaged, (r,).

    Only places with a right detection matter: precision falls between them, and COCO reads the best precision at a
    recall or beyond.

    Args:
        found: (r, p) objects found down to each right detection.
        seen: (r, p) detections down to there.
        objects: (r,) objects in all.
    """
    precision = found / (seen + np.spacing(1))  # as COCO writes it: nothing seen gives 0
    best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    points = np.searchsorted(RECALL_POINTS, found / objects[:, None], side="right")  # points that are reached
    reached_here = np.diff(points, axis=1, prepend=0)
    return np.asarray((best * reached_here).sum(axis=1) / len(RECALL_POINTS))
