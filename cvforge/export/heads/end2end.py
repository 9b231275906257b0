"""Finished detections in one output (1, n, 6): x1, y1, x2, y2 in input pixels, score, class number.

What NMS-free YOLO networks and exports with suppression inside give. Source: the layout of exported files alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from cvforge.export.heads.head import Arrays, DecodeSpec, Head, Shape, is_static
from cvforge.export.heads.numbered import INT64, score_columns, write_scores
from cvforge.export.heads.writer import GraphWriter
from cvforge_edge.types import Task

COLUMNS = 6


def _fits(shapes: Sequence[Shape]) -> bool:
    (shape,) = shapes
    return len(shape) == 3 and shape[0] == 1 and shape[2] == COLUMNS and is_static(shape)


def _count_classes(shapes: Sequence[Shape]) -> int | None:
    return None


def _write(graph: GraphWriter, outputs: Sequence[str], spec: DecodeSpec) -> tuple[str, ...]:
    rows = graph.reshape(outputs[0], (-1, COLUMNS))
    numbers = graph.add("Cast", graph.slice(rows, 5, 6, axis=1), to=INT64)
    scores = write_scores(graph, graph.slice(rows, 4, 5, axis=1), numbers=numbers, spec=spec)
    return graph.slice(rows, 0, 4, axis=1), scores


def _decode(outputs: Arrays, spec: DecodeSpec) -> dict[str, npt.NDArray[np.float32]]:
    rows = outputs[0][0]
    columns = score_columns(rows[:, 4], rows[:, 5].astype(np.int64), spec)
    return {"boxes": rows[None, :, :4].astype(np.float32), "scores": columns[None]}


HEAD = Head(
    task=Task.DETECTION,
    postprocess="detection_nms_free",
    summary="finished detections in one output: x1 y1 x2 y2 score class",
    outputs=("output0",),
    expected="(1, detections, 6)",
    color="rgb",
    resize="letterbox",
    mean=(0.0, 0.0, 0.0),
    std=(1.0, 1.0, 1.0),
    fits=_fits,
    count_classes=_count_classes,
    write=_write,
    decode=_decode,
    first_label_id=0,
)
