"""The head of Ultralytics-style exports: one output (1, 4 + c, n), boxes as centre and size in input pixels, then scores.

Scores are probabilities already. Source: the layout of exported files alone; no code or weights of that project are
used, whose licence (AGPL-3.0) may bind what you do with weights that it made.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from cvforge.export.heads.head import Arrays, DecodeSpec, Head, Shape, is_static
from cvforge.export.heads.writer import GraphWriter
from cvforge_edge.types import Task

BOX_CHANNELS = 4


def _fits(shapes: Sequence[Shape]) -> bool:
    (shape,) = shapes
    return len(shape) == 3 and shape[0] == 1 and is_static(shape) and (shape[1] or 0) > BOX_CHANNELS


def _count_classes(shapes: Sequence[Shape]) -> int | None:
    return (shapes[0][1] or 0) - BOX_CHANNELS


def _write(graph: GraphWriter, outputs: Sequence[str], spec: DecodeSpec) -> tuple[str, ...]:
    rows = graph.reshape(graph.add("Transpose", outputs[0], perm=[0, 2, 1]), (-1, BOX_CHANNELS + spec.num_classes))
    centre = graph.slice(rows, 0, 2, axis=1)
    half = graph.add("Mul", graph.slice(rows, 2, 4, axis=1), graph.floats(0.5))
    corners = graph.add("Sub", centre, half), graph.add("Add", centre, half)
    scores = graph.slice(rows, BOX_CHANNELS, BOX_CHANNELS + spec.num_classes, axis=1)
    return graph.add("Concat", *corners, axis=1), scores


def _decode(outputs: Arrays, spec: DecodeSpec) -> dict[str, npt.NDArray[np.float32]]:
    x, y, width, height = outputs[0][0, :BOX_CHANNELS]
    boxes = np.stack([x - width / 2, y - height / 2, x + width / 2, y + height / 2], axis=1)
    scores = outputs[0][0, BOX_CHANNELS:].T
    return {"boxes": boxes[None].astype(np.float32), "scores": scores[None].astype(np.float32)}


HEAD = Head(
    task=Task.DETECTION,
    postprocess="detection_nms",
    summary="YOLO exports without suppression: centre, size, class scores in one output",
    outputs=("output0",),
    expected="(1, 4 + classes, candidates)",
    color="rgb",
    resize="letterbox",
    mean=(0.0, 0.0, 0.0),
    std=(1.0, 1.0, 1.0),
    fits=_fits,
    count_classes=_count_classes,
    write=_write,
    decode=_decode,
)
