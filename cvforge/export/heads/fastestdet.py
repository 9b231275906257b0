"""FastestDet's head: one output (1, 5 + c, rows, columns), one box a cell.

Channels: objectness in [0, 1]; offset of the box centre from the cell's corner before tanh, x then y, in cells; width
and height before the sigmoid, as fractions of the input; class probabilities (the softmax is inside the network).
Source: dog-qiuqiu/FastestDet, 50473cd (BSD-3-Clause), `utils/tool.py`, which scores objectness^0.6 * class^0.4. It keeps the
best class of a cell; here each class has a score, as the contract wants.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from cvforge.export.heads.head import Arrays, DecodeSpec, Head, Shape, is_static
from cvforge.export.heads.writer import GraphWriter
from cvforge_edge.types import Task

BOX_CHANNELS = 5
OBJECTNESS_POWER, CLASS_POWER = 0.6, 0.4


def _fits(shapes: Sequence[Shape]) -> bool:
    (shape,) = shapes
    return len(shape) == 4 and shape[0] == 1 and is_static(shape) and (shape[1] or 0) > BOX_CHANNELS


def _count_classes(shapes: Sequence[Shape]) -> int | None:
    return (shapes[0][1] or 0) - BOX_CHANNELS


def _write(graph: GraphWriter, outputs: Sequence[str], spec: DecodeSpec) -> tuple[str, ...]:
    cells_xy, stride_xy, size_xy = _grid(spec)
    channels = BOX_CHANNELS + spec.num_classes
    rows = graph.add("Transpose", graph.reshape(outputs[0], (channels, len(cells_xy))), perm=[1, 0])
    objectness = graph.slice(rows, 0, 1, axis=1)
    offset = graph.add("Tanh", graph.slice(rows, 1, 3, axis=1))
    centre = graph.add("Mul", graph.add("Add", offset, graph.floats(cells_xy)), graph.floats(stride_xy))
    size = graph.add("Sigmoid", graph.slice(rows, 3, 5, axis=1))
    half = graph.add("Mul", size, graph.floats(size_xy / 2))
    corners = graph.add("Sub", centre, half), graph.add("Add", centre, half)
    classes = graph.slice(rows, BOX_CHANNELS, channels, axis=1)
    strength = graph.add("Pow", objectness, graph.floats(OBJECTNESS_POWER))
    scores = graph.add("Mul", strength, graph.add("Pow", classes, graph.floats(CLASS_POWER)))
    return graph.add("Concat", *corners, axis=1), scores


def _decode(outputs: Arrays, spec: DecodeSpec) -> dict[str, npt.NDArray[np.float32]]:
    cells_xy, stride_xy, size_xy = _grid(spec)
    rows = outputs[0][0].reshape(BOX_CHANNELS + spec.num_classes, -1).T
    centre = (np.tanh(rows[:, 1:3]) + cells_xy) * stride_xy
    half = size_xy / 2 / (1 + np.exp(-rows[:, 3:5]))
    scores = rows[:, :1] ** OBJECTNESS_POWER * rows[:, BOX_CHANNELS:] ** CLASS_POWER
    boxes = np.concatenate([centre - half, centre + half], axis=1)
    return {"boxes": boxes[None].astype(np.float32), "scores": scores[None].astype(np.float32)}


def _grid(spec: DecodeSpec) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Corner of each cell (n, 2) in cells, and the sizes (2,) of a cell and of the input in pixels; all x before y."""
    _, _, rows, columns = spec.shapes[0]
    assert rows is not None
    assert columns is not None
    y, x = np.divmod(np.arange(rows * columns), columns)
    size_xy = np.array(spec.size_hw[::-1], np.float32)
    return np.stack([x, y], axis=1).astype(np.float32), size_xy / np.array([columns, rows], np.float32), size_xy


HEAD = Head(
    task=Task.DETECTION,
    postprocess="detection_nms",
    summary="FastestDet: objectness, tanh offsets, sigmoid sizes, classes on one grid",
    outputs=("output",),
    expected="(1, 5 + classes, rows, columns)",
    color="bgr",
    resize="stretch",
    mean=(0.0, 0.0, 0.0),
    std=(1.0, 1.0, 1.0),
    fits=_fits,
    count_classes=_count_classes,
    write=_write,
    decode=_decode,
    score_threshold=0.65,  # the powers lift scores; its own test.py draws from here
    iou_threshold=0.45,
)
