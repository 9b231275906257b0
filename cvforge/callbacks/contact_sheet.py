"""Some images with truth and prediction drawn side by side on one sheet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from cvforge.data.types import Sample
from cvforge.errors import StorageError
from cvforge_edge.draw import contact_sheet, draw_prediction
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
        pictures.append(draw_prediction(sample.image_bgr, _drawable(sample.truth, len(labels)), labels=labels))
        pictures.append(draw_prediction(sample.image_bgr, prediction, labels=labels))
        name = Path(sample.image_id).name
        captions += [f"truth: {_summary(sample.truth, labels)}  ({name})", f"model: {_summary(prediction, labels)}"]
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


def _drawable(truth: Truth, num_classes: int) -> Prediction:
    if not isinstance(truth, ClassLabel):
        return truth
    probs = np.zeros(num_classes, np.float32)
    probs[truth.class_id] = 1
    return ClassScores(probs)


def _summary(value: Truth | Prediction, labels: Sequence[str]) -> str:
    if isinstance(value, ClassLabel):
        return labels[value.class_id]
    if isinstance(value, ClassScores):
        class_id, probability = value.top(1)[0]
        return f"{labels[class_id]} {probability:.2f}"
    if isinstance(value, SegmentationMap):
        return f"{len(np.unique(value.class_map))} classes"
    assert isinstance(value, Detections)
    return f"{len(value)} objects"
