"""Some images with truth and prediction drawn side by side on one sheet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from cvforge.data.types import Sample
from cvforge.errors import StorageError
from cvforge_edge.contact_sheet import CELL_HW, contact_sheet
from cvforge_edge.draw import draw_detections, draw_prediction
from cvforge_edge.types import ClassLabel, ClassScores, Detections, Prediction, SegmentationMap, Truth

PAIRS_IN_A_ROW = 2
Predict = Callable[[npt.NDArray[np.uint8]], Prediction]


def draw_contact_sheet(samples: Sequence[Sample], predict: Predict, *, labels: Sequence[str]) -> npt.NDArray[np.uint8]:
    """Each image twice: with its truth, then with what the model says.

    Args:
        samples: at least one.
        predict: (h, w, 3) uint8 BGR -> prediction in pixels of that image.
        labels: class names.

    Returns:
        (h, w, 3) uint8 BGR.
    """
    pictures, captions = [], []
    for sample in samples:
        prediction = predict(sample.image_bgr)
        pictures.append(truth_picture(sample, labels))
        pictures.append(model_picture(sample.image_bgr, prediction, labels))
        name = Path(sample.image_id).name
        verdict = ", wrong" if _is_wrong(sample.truth, prediction) else ""
        captions.append(f"truth: {summary(sample.truth, labels)}  ({name})")
        captions.append(f"model: {summary(prediction, labels)}{verdict}")
    return contact_sheet(pictures, columns=2 * PAIRS_IN_A_ROW, captions=captions)


def write_png(image_bgr: npt.NDArray[np.uint8], path: Path) -> None:
    """Write a picture.

    Raises:
        StorageError: it cannot be written.
    """
    encoded = cv2.imencode(".png", image_bgr)[1]
    try:
        path.write_bytes(encoded.tobytes())
    except OSError as error:
        raise StorageError(f"{path}: the picture cannot be written ({error}); free space") from error


def truth_picture(sample: Sample, labels: Sequence[str]) -> npt.NDArray[np.uint8]:
    """The image with its truth drawn; as it is where the truth is one class."""
    truth = sample.truth
    if isinstance(truth, ClassLabel):
        return sample.image_bgr  # the caption says its class
    if isinstance(truth, Detections):
        return draw_detections(sample.image_bgr, truth, labels=labels, scores=False)
    return draw_prediction(sample.image_bgr, truth, labels=labels)


def model_picture(
    image_bgr: npt.NDArray[np.uint8], prediction: Prediction, labels: Sequence[str]
) -> npt.NDArray[np.uint8]:
    """The image with a prediction drawn; small ones are enlarged where the text would hide them."""
    if isinstance(prediction, ClassScores):  # enlarged before text comes onto it, which would hide a small picture
        scale = max(1.0, min(CELL_HW) / max(image_bgr.shape[:2]))
        size_wh = (round(image_bgr.shape[1] * scale), round(image_bgr.shape[0] * scale))
        image_bgr = np.asarray(cv2.resize(image_bgr, size_wh, interpolation=cv2.INTER_LINEAR), np.uint8)
    return draw_prediction(image_bgr, prediction, labels=labels)


def summary(value: Truth | Prediction, labels: Sequence[str]) -> str:
    """A truth or prediction in a few words."""
    if isinstance(value, ClassLabel):
        return labels[value.class_id]
    if isinstance(value, ClassScores):
        class_id, probability = value.top(1)[0]
        return f"{labels[class_id]} {probability:.2f}"
    if isinstance(value, SegmentationMap):
        return f"{len(np.unique(value.class_map))} classes"
    assert isinstance(value, Detections)
    return f"{len(value)} object{'' if len(value) == 1 else 's'}"


def _is_wrong(truth: Truth, prediction: Prediction) -> bool:
    return (
        isinstance(truth, ClassLabel)
        and isinstance(prediction, ClassScores)
        and prediction.top(1)[0][0] != truth.class_id
    )
