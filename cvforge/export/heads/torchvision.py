"""Finished detections as torchvision's detectors give them: `boxes` (n, 4), `scores` (n,), `labels` (n,), best first.

Suppression is inside the network, which is slow on small devices but exact. The contract wants a fixed number of rows:
missing ones are filled with score 0, and what is more than `max_detections` is cut off (torchvision itself gives 100 to 300
at most). Label 0 is torchvision's background. Source: torchvision.models.detection, `postprocess_detections`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from cvforge.export.heads.head import Arrays, DecodeSpec, Head, Shape
from cvforge.export.heads.numbered import INT64, NO_CLASS, filled, score_columns, write_filled, write_scores
from cvforge.export.heads.writer import GraphWriter
from cvforge_edge.types import Task


def _fits(shapes: Sequence[Shape]) -> bool:
    boxes, scores, labels = shapes
    return len(boxes) == 2 and boxes[1] == 4 and len(scores) == 1 and len(labels) == 1


def _count_classes(shapes: Sequence[Shape]) -> int | None:
    return None


def _write(graph: GraphWriter, outputs: Sequence[str], spec: DecodeSpec) -> tuple[str, ...]:
    boxes, scores, labels = outputs
    rows, nothing = spec.max_detections, graph.floats([0])
    numbers = write_filled(
        graph, graph.add("Cast", labels, to=INT64), rows=rows, columns=1, filling=graph.integers([NO_CLASS])
    )
    strengths = write_filled(graph, scores, rows=rows, columns=1, filling=nothing)
    return (
        write_filled(graph, boxes, rows=rows, columns=4, filling=nothing),
        write_scores(graph, strengths, numbers=numbers, spec=spec),
    )


def _decode(outputs: Arrays, spec: DecodeSpec) -> dict[str, npt.NDArray[np.float32]]:
    boxes, scores, labels = outputs
    rows = spec.max_detections
    columns = score_columns(filled(scores, rows, value=0), filled(labels, rows, value=NO_CLASS), spec)
    return {"boxes": filled(boxes, rows, value=0)[None].astype(np.float32), "scores": columns[None]}


HEAD = Head(
    task=Task.DETECTION,
    postprocess="detection_nms_free",
    summary="torchvision's SSD, Faster R-CNN, RetinaNet: finished boxes, scores, labels",
    outputs=("boxes", "scores", "labels"),
    expected="boxes (n, 4), scores (n), labels (n)",
    color="rgb",
    resize="letterbox",
    mean=(0.0, 0.0, 0.0),  # these networks normalise inside
    std=(1.0, 1.0, 1.0),
    fits=_fits,
    count_classes=_count_classes,
    write=_write,
    decode=_decode,
    first_label_id=1,
)
