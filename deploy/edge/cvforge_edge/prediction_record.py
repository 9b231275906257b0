"""A prediction as plain values for JSON: the same in the lines of a camera, of `tools/predict.py`, and in a server's answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from cvforge_edge.labels import label_name
from cvforge_edge.types import ClassScores, Detections, Prediction, SegmentationMap

TOP_CLASSES = 5
BOX_DECIMALS, SCORE_DECIMALS = 3, 4


def prediction_record(prediction: Prediction, labels: Sequence[str], *, top: int = TOP_CLASSES) -> dict[str, Any]:
    """One key, by the task: `detections`, `classes` or `pixel_shares`, as `cvforge_edge.sinks.jsonl` describes them.

    Args:
        prediction: in pixels of the picture.
        labels: names of the classes, in the order of their ids.
        top: classification: how many classes, the strongest first.
    """
    if isinstance(prediction, Detections):
        return {"detections": _detections(prediction, labels)}
    if isinstance(prediction, SegmentationMap):
        return {"pixel_shares": _pixel_shares(prediction, labels)}
    return {"classes": _classes(prediction, labels, top=top)}


def _detections(detections: Detections, labels: Sequence[str]) -> list[dict[str, Any]]:
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


def _classes(scores: ClassScores, labels: Sequence[str], *, top: int) -> list[dict[str, Any]]:
    return [
        {"label": label_name(labels, class_id), "class_id": class_id, "score": round(prob, SCORE_DECIMALS)}
        for class_id, prob in scores.top(top)
    ]


def _pixel_shares(segmentation: SegmentationMap, labels: Sequence[str]) -> dict[str, float]:
    counts = np.bincount(segmentation.class_map.ravel(), minlength=256)
    total = segmentation.class_map.size
    return {label_name(labels, int(i)): round(float(counts[i] / total), SCORE_DECIMALS) for i in np.flatnonzero(counts)}
