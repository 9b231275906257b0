"""COCO scores of FastestDet's own ONNX file by other people's code alone, to hold an imported bundle against.

    python benchmarks/fastestdet_reference.py --onnx FastestDet.onnx --images val2017 --annotations instances_val2017.json

No line of CVForge is used: OpenCV reads and stretches, ONNX Runtime runs the file as its maker left it, numpy decodes,
torchvision suppresses, pycocotools scores. `--best-class-only` gives each cell only its best class, as FastestDet's own
evaluation does.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime
import torch
import torchvision
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

SIDE = 352
SCORE_THRESHOLD, IOU_THRESHOLD, MAX_CANDIDATES, MAX_DETECTIONS = 0.001, 0.6, 3000, 100
NAMES = ("map", "map50", "map75", "map_small", "map_medium", "map_large")


def detect(session: Any, image_bgr: np.ndarray, *, best_class_only: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boxes (n, 4) x1 y1 x2 y2 in pixels of the image, scores (n,), class ids (n,), best first."""
    height, width = image_bgr.shape[:2]
    resized = cv2.resize(image_bgr, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)
    tensor = np.transpose(resized, (2, 0, 1))[None].astype(np.float32) / 255.0
    (raw,) = session.run(None, {session.get_inputs()[0].name: tensor})
    _, _, rows, columns = raw.shape
    boxes, scores = [], []
    for row in range(rows):
        for column in range(columns):
            cell = raw[0, :, row, column].astype(np.float64)
            x, y = (np.tanh(cell[1]) + column) / columns * width, (np.tanh(cell[2]) + row) / rows * height
            w, h = width / (1 + np.exp(-cell[3])), height / (1 + np.exp(-cell[4]))
            boxes.append((x - w / 2, y - h / 2, x + w / 2, y + h / 2))
            scores.append(cell[0] ** 0.6 * cell[5:] ** 0.4)
    table = np.array(scores)
    if best_class_only:
        table[table < table.max(axis=1, keepdims=True)] = 0
    cells, class_ids = np.nonzero(table >= SCORE_THRESHOLD)
    order = np.argsort(-table[cells, class_ids], kind="stable")[:MAX_CANDIDATES]
    cells, class_ids = cells[order], class_ids[order]
    chosen = np.clip(np.array(boxes)[cells], 0, (width, height, width, height))
    strengths = table[cells, class_ids]
    keep = torchvision.ops.batched_nms(*map(torch.from_numpy, (chosen, strengths, class_ids)), IOU_THRESHOLD).numpy()
    keep = keep[:MAX_DETECTIONS]
    return chosen[keep], strengths[keep], class_ids[keep]


def reference_scores(onnx: Path, *, images: Path, annotations: Path, best_class_only: bool) -> dict[str, float]:
    """The first six numbers of pycocotools over all images of the annotation file."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(onnx), options, providers=["CPUExecutionProvider"])
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        truth = COCO(str(annotations))
        category_ids = sorted(truth.getCatIds())
        results = []
        for image_id in truth.getImgIds():
            image_bgr = cv2.imread(str(images / truth.loadImgs(image_id)[0]["file_name"]))
            for box, score, class_id in zip(*detect(session, image_bgr, best_class_only=best_class_only), strict=True):
                x1, y1, x2, y2 = (float(value) for value in box)
                results.append(
                    {
                        "image_id": image_id,
                        "category_id": category_ids[class_id],
                        "bbox": [x1, y1, x2 - x1, y2 - y1],
                        "score": float(score),
                    }
                )
        evaluation = COCOeval(truth, truth.loadRes(results), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return dict(zip(NAMES, (float(value) for value in evaluation.stats), strict=False))


def main() -> None:
    """Measure and print."""
    arguments = _parser().parse_args()
    print(json.dumps(reference_scores(**vars(arguments)), indent=2))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--onnx", type=Path, required=True, metavar="FILE", help="FastestDet.onnx")
    parser.add_argument("--images", type=Path, required=True, metavar="FOLDER", help="images of the annotation file")
    parser.add_argument("--annotations", type=Path, required=True, metavar="FILE", help="COCO annotation file")
    parser.add_argument(
        "--best-class-only", action="store_true", help="one class a cell, as FastestDet's own evaluation"
    )
    return parser


if __name__ == "__main__":
    main()
