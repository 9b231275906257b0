"""Results as a pipeline hands them to its sinks, and a reader of what became of them."""

from __future__ import annotations

import time
from pathlib import Path

import cv2
import numpy as np

from cvforge_edge.frame import Frame, Result
from cvforge_edge.types import Detections

LABELS = ("red", "blue")


def result(
    index: int = 0,
    *,
    prediction=None,
    size_hw=(48, 64),
    image_bgr=None,
    source: str = "clip.mp4",
    unix_time_s=None,
    time_s=None,
):
    image = np.full((*size_hw, 3), 40, np.uint8) if image_bgr is None else image_bgr
    time_s = index / 10 if time_s is None else time_s
    frame = Frame(image, index, time_s, unix_time_s, source, time.monotonic())
    return Result(frame, prediction if prediction is not None else Detections.empty(), LABELS)


def detections() -> Detections:
    boxes = np.array([[1, 2, 3.456, 4], [5, 6, 7, 8]], np.float32)
    return Detections(boxes, np.array([0.25, 0.75], np.float32), np.array([1, 0], np.int64))


def read_clip(path: Path) -> list[np.ndarray]:
    capture = cv2.VideoCapture(str(path))
    frames = []
    while (read := capture.read())[0]:
        frames.append(read[1])
    capture.release()
    return frames
