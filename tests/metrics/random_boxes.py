"""Random objects and detections, and what pycocotools says about them."""

from __future__ import annotations

import contextlib
import io

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from cvforge_edge.types import Detections


def boxes(
    *rows: tuple[float, float, float, float], class_ids: list[int], scores: list[float] | None = None
) -> Detections:
    found = np.ones(len(rows)) if scores is None else scores
    return Detections(
        np.array(rows, np.float32).reshape(-1, 4), np.asarray(found, np.float32), np.asarray(class_ids, np.int64)
    )


def random_truth(rng: np.random.Generator, num_classes: int) -> Detections:
    n = int(rng.integers(0, 12))
    corner = rng.random((n, 2)) * 500
    size = np.exp(rng.uniform(1.5, 5.5, (n, 2)))
    return Detections(
        np.concatenate([corner, corner + size], 1).astype(np.float32),
        np.ones(n, np.float32),
        rng.integers(0, num_classes, n),
        is_crowd=rng.random(n) < 0.15,
        areas=(size.prod(1) * rng.uniform(0.4, 1.0, n)).astype(np.float32),
    )


def jittered(truth: Detections, rng: np.random.Generator, *, num_classes: int) -> Detections:
    copies = truth.select(np.tile(np.arange(len(truth)), 2))
    n = len(copies)
    size = np.tile(copies.boxes_xyxy[:, 2:] - copies.boxes_xyxy[:, :2], (1, 2))
    moved = (copies.boxes_xyxy + rng.normal(0, 0.12, (n, 4)) * size).astype(np.float32)
    moved[:, 2:] = np.maximum(moved[:, 2:], moved[:, :2] + 1)
    class_ids = np.where(rng.random(n) < 0.2, rng.integers(0, num_classes, n), copies.class_ids)
    return Detections(moved, rng.integers(1, 40, n).astype(np.float32) / 40, class_ids)  # equal scores are common


def reference_evaluation(pairs: list[tuple[Detections, Detections]], num_classes: int) -> COCOeval:
    """What pycocotools says, written independently of the metric's own tables."""
    truth, found = COCO(), COCO()
    images = [{"id": i} for i in range(len(pairs))]
    categories = [{"id": c * 3 + 7, "name": f"class {c}"} for c in range(num_classes)]
    for coco, side in ((truth, 1), (found, 0)):
        annotations = []
        for i, pair in enumerate(pairs):
            detections = pair[side]
            for row, box in enumerate(detections.boxes_xyxy.astype(float).tolist()):
                x1, y1, x2, y2 = box
                area = (x2 - x1) * (y2 - y1) if detections.areas is None else float(detections.areas[row])
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": i,
                        "category_id": int(detections.class_ids[row]) * 3 + 7,
                        "bbox": [x1, y1, x2 - x1, y2 - y1],
                        "area": area,
                        "iscrowd": 0 if detections.is_crowd is None else int(detections.is_crowd[row]),
                        "score": float(detections.scores[row]),
                    }
                )
        with contextlib.redirect_stdout(io.StringIO()):
            coco.dataset = {"images": images, "categories": categories, "annotations": annotations}
            coco.createIndex()
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(truth, found, "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation
