"""Results as JSON Lines: one object for each frame, one line for each object.

Every line has the keys `frame` (number in the source, from 0), `time_s` (position in the clip, or seconds since the
camera was opened), `unix_time_s` (when a camera took the picture; null for files), `source`, `width` and `height` (of
the picture, in pixels), and one more, by the task of the model:

- detection: `detections`, a list of `label`, `class_id`, `score` (0 to 1), `box_xyxy` (x1 y1 x2 y2 in pixels of the
  picture) and, with tracking, `track_id`; the surest first;
- classification: `classes`, the five strongest as `label`, `class_id`, `score`;
- segmentation: `pixel_shares`, an object from label to share of the picture (0 to 1), classes that are absent left out;
  `void` stands for pixels of no class.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from cvforge_edge.errors import BackendError, StorageError
from cvforge_edge.frame import Result
from cvforge_edge.labels import label_name
from cvforge_edge.types import ClassScores, Detections, Prediction, SegmentationMap

FLUSH_EVERY_S = 0.5
"""A reader of the file, or a power cut, is at most this far behind."""
STANDARD_OUTPUT = "-"
TOP_CLASSES = 5
BOX_DECIMALS, SCORE_DECIMALS, TIME_DECIMALS = 2, 4, 3


class JsonLines:
    """Writes results to a file, or to standard output."""

    def __init__(self, path: str) -> None:
        """Create the file, or replace it.

        Args:
            path: the file, or `-` for standard output.

        Raises:
            StorageError: the file cannot be created.
        """
        self._path = path
        self._count = self._stored = 0
        self._closed = False
        self._flushed_s = time.monotonic()
        try:
            # Stays open until close(): one line for each frame.
            self._file: TextIO = sys.stdout if path == STANDARD_OUTPUT else Path(path).open("w", encoding="utf-8")  # noqa: SIM115
        except OSError as error:
            raise StorageError(
                f"{path}: cannot be created ({error.strerror}); name a file in a folder that exists and may be "
                "written to"
            ) from error

    def write(self, result: Result) -> None:
        """Add one line; it reaches the disk within `FLUSH_EVERY_S`, as long as frames come.

        Raises:
            StorageError: the line cannot be stored.
            BackendError: the prediction holds NaN or infinity, which JSON cannot say.
        """
        try:
            line = json.dumps(json_record(result), ensure_ascii=False, allow_nan=False)
        except ValueError as error:
            raise BackendError(
                f"{result.frame.source}: the prediction for frame {result.frame.index} holds NaN or infinity; "
                "the model or the runtime is wrong: run --self-test"
            ) from error
        try:
            self._file.write(line + "\n")
            self._count += 1
            if time.monotonic() - self._flushed_s >= FLUSH_EVERY_S:
                self._file.flush()
                self._stored, self._flushed_s = self._count, time.monotonic()
        except OSError as error:
            raise self._lost(error) from error

    def close(self) -> None:
        """Bring every line to the disk; may be called twice.

        Raises:
            StorageError: the last lines cannot be stored.
        """
        if self._closed:
            return
        self._closed = True
        try:
            self._file.flush()
            if self._path != STANDARD_OUTPUT:
                _sync(self._file)
                self._file.close()
        except OSError as error:
            _abandon(self._file)
            raise self._lost(error) from error

    def summary(self) -> str:
        """Where the lines are, and how many."""
        where = "standard output" if self._path == STANDARD_OUTPUT else self._path
        return f"{where}: {self._count} lines of JSON"

    def _lost(self, error: OSError) -> StorageError:
        if isinstance(error, BrokenPipeError):
            return StorageError(f"{self._path}: the program that reads the lines has ended")
        return StorageError(
            f"{self._path}: cannot be written ({error.strerror}); the first {self._stored} lines are stored, the "
            "last one may be cut off. Free space on the disk, or write elsewhere"
        )


def json_record(result: Result) -> dict[str, Any]:
    """The object of one line, as the description of this file lists its keys."""
    frame = result.frame
    return {
        "frame": frame.index,
        "time_s": round(frame.time_s, TIME_DECIMALS),
        "unix_time_s": None if frame.unix_time_s is None else round(frame.unix_time_s, TIME_DECIMALS),
        "source": frame.source,
        "width": frame.image_bgr.shape[1],
        "height": frame.image_bgr.shape[0],
        **_prediction_fields(result.prediction, result.labels),
    }


def _prediction_fields(prediction: Prediction, labels: tuple[str, ...]) -> dict[str, Any]:
    if isinstance(prediction, Detections):
        return {"detections": _detections(prediction, labels)}
    if isinstance(prediction, SegmentationMap):
        return {"pixel_shares": _pixel_shares(prediction, labels)}
    return {"classes": _classes(prediction, labels)}


def _detections(detections: Detections, labels: tuple[str, ...]) -> list[dict[str, Any]]:
    rows = []
    for i in np.argsort(-detections.scores, kind="stable"):
        class_id = int(detections.class_ids[i])
        row: dict[str, Any] = {
            "label": label_name(labels, class_id),
            "class_id": class_id,
            "score": round(float(detections.scores[i]), SCORE_DECIMALS),
            "box_xyxy": [round(float(v), BOX_DECIMALS) for v in detections.boxes_xyxy[i]],
        }
        if detections.track_ids is not None:
            row["track_id"] = int(detections.track_ids[i])
        rows.append(row)
    return rows


def _classes(scores: ClassScores, labels: tuple[str, ...]) -> list[dict[str, Any]]:
    return [
        {"label": label_name(labels, class_id), "class_id": class_id, "score": round(prob, SCORE_DECIMALS)}
        for class_id, prob in scores.top(TOP_CLASSES)
    ]


def _pixel_shares(segmentation: SegmentationMap, labels: tuple[str, ...]) -> dict[str, float]:
    counts = np.bincount(segmentation.class_map.ravel(), minlength=256)
    total = segmentation.class_map.size
    return {label_name(labels, int(i)): round(float(counts[i] / total), SCORE_DECIMALS) for i in np.flatnonzero(counts)}


def _sync(file: TextIO) -> None:
    try:
        os.fsync(file.fileno())
    except OSError as error:
        if error.errno not in (22, 95):  # EINVAL, ENOTSUP: a pipe or a device has nothing to bring to a disk
            raise


def _abandon(file: TextIO) -> None:
    """Close a file whose failure to write is reported already: closing it, or ending Python, tries to write again."""
    with contextlib.suppress(OSError):
        if file is sys.stdout:
            with Path(os.devnull).open("w") as nowhere:
                os.dup2(nowhere.fileno(), file.fileno())
        else:
            file.close()
