"""The images that a model answers best and worst, with truth and prediction drawn beside each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from cvforge.data.types import Dataset, Sample
from cvforge.report.contact_sheet import model_picture, summary, truth_picture
from cvforge.report.figures import Figures
from cvforge_edge.types import ClassLabel, ClassScores, Detections, SegmentationMap

IMAGES_SHOWN = 6
"""Of the best, and of the worst: what bounds the size of a report."""
LONG_SIDE = 480
JPEG_QUALITY = 82
ANSWERS_NAMED = 3
CLASSES_NAMED = 5
NAMED_FROM_SHARE = 0.005
Image = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class ShownImage:
    """One image of a report.

    Attributes:
        image_id: of the data set.
        score: see `Figures.image_score_meaning`.
        truth_jpeg: with the truth drawn.
        model_jpeg: with the prediction drawn.
        truth: in words.
        model: in words.
        is_drawn: whether the truth can be drawn; a class cannot, and words say it better than a panel over the image.
    """

    image_id: str
    score: float
    truth_jpeg: bytes
    model_jpeg: bytes
    truth: str
    model: str
    is_drawn: bool


@dataclass(frozen=True)
class Extremes:
    """The images that a model answers worst and best, the most extreme first."""

    worst: tuple[ShownImage, ...]
    best: tuple[ShownImage, ...]


def extreme_images(
    dataset: Dataset,
    figures: Figures,
    predict: Callable[[Image], Any],
    *,
    labels: Sequence[str],
    count: int = IMAGES_SHOWN,
) -> Extremes:
    """Read and predict the few images that a report shows.

    Args:
        dataset: with every image that has a score.
        figures: of the validation.
        predict: (h, w, 3) uint8 BGR -> prediction in pixels of that image, with the thresholds of use.
        labels: class names.
        count: of each kind, at most.
    """
    chosen = figures.worst(count), figures.best(count)
    wanted = {image_id for ids in chosen for image_id in ids}
    places = {dataset.image_id(i): i for i in range(len(dataset)) if dataset.image_id(i) in wanted}
    shown = {
        image_id: _shown(dataset[places[image_id]], predict, figures.image_scores[image_id].score, labels)
        for image_id in wanted
        if image_id in places
    }
    worst, best = (tuple(shown[image_id] for image_id in ids if image_id in shown) for ids in chosen)
    return Extremes(worst, best)


def scaled(value: Any, factor: float, size_hw: tuple[int, int]) -> Any:
    """A truth or prediction for a picture that was enlarged or reduced."""
    if isinstance(value, Detections):
        boxes = (value.boxes_xyxy * np.float32(factor)).astype(np.float32)
        return replace(value, boxes_xyxy=boxes, masks=None, areas=None)
    if isinstance(value, SegmentationMap):
        size_wh = (size_hw[1], size_hw[0])
        resized = cv2.resize(value.class_map, size_wh, interpolation=cv2.INTER_NEAREST)
        return SegmentationMap(np.asarray(resized, np.uint8))
    return value


def _shown(sample: Sample, predict: Callable[[Image], Any], score: float, labels: Sequence[str]) -> ShownImage:
    prediction = predict(sample.image_bgr)
    height, width = sample.image_bgr.shape[:2]
    factor = LONG_SIDE / max(height, width)
    size_hw = (max(1, round(height * factor)), max(1, round(width * factor)))
    way = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    picture = np.asarray(cv2.resize(sample.image_bgr, (size_hw[1], size_hw[0]), interpolation=way), np.uint8)
    truth = scaled(sample.truth, factor, size_hw)
    return ShownImage(
        image_id=Path(sample.image_id).as_posix(),
        score=score,
        truth_jpeg=_jpeg(truth_picture(Sample(picture, truth, sample.image_id), labels)),
        model_jpeg=_jpeg(model_picture(picture, scaled(prediction, factor, size_hw), labels)),
        truth=_answer(sample.truth, labels),
        model=_answer(prediction, labels),
        is_drawn=not isinstance(sample.truth, ClassLabel),
    )


def _answer(value: Any, labels: Sequence[str]) -> str:
    """A truth or an answer in words."""
    if isinstance(value, ClassScores):
        return ", ".join(f"{labels[class_id]} {probability:.0%}" for class_id, probability in value.top(ANSWERS_NAMED))
    if isinstance(value, Detections):
        counts = np.bincount(value.class_ids, minlength=len(labels))
        return (
            ", ".join(f"{counts[k]} {labels[k]}" for k in np.argsort(-counts, kind="stable") if counts[k]) or "nothing"
        )
    if isinstance(value, SegmentationMap):
        shares = np.bincount(value.class_map.ravel(), minlength=256)[: len(labels)] / value.class_map.size
        order = [k for k in np.argsort(-shares, kind="stable") if shares[k] >= NAMED_FROM_SHARE]
        return ", ".join(f"{labels[k]} {shares[k]:.0%}" for k in order[:CLASSES_NAMED]) or "nothing"
    return summary(value, labels)


def _jpeg(picture: Image) -> bytes:
    return bytes(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes())
