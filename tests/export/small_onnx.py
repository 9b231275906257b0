"""Small ONNX networks of each importable kind, whose answers can be worked out by hand.

Each looks at nothing but the mean of the three channels that it is given, so its scores show whether colour order, scale,
mean and std reached it as they should.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIZE_HW = (16, 24)
LABELS = ("red", "green", "blue")
BOXES_XYXY = np.array([[1, 2, 11, 8], [4, 4, 20, 12]], np.float32)
Outputs = Sequence[tuple[str, Sequence[int]]]


class Network:
    """Nodes and weights of a network that starts with the mean of its channels, (1, 3) float32, named `means`."""

    def __init__(self, *, layout: str = "nchw", element_type: int = TensorProto.FLOAT, name: str = "image") -> None:
        height, width = SIZE_HW
        shape, axes = {
            "nchw": ((1, 3, height, width), [2, 3]),
            "nhwc": ((1, height, width, 3), [1, 2]),
            "chw": ((3, height, width), [1, 2]),
        }[layout]
        self.inputs = [helper.make_tensor_value_info(name, element_type, shape)]
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.node("Cast", name, output="pixels", to=TensorProto.FLOAT)
        self.node("ReduceMean", "pixels", output="channels", axes=axes, keepdims=0)
        self.node("Reshape", "channels", self.weight([1, 3], np.int64), output="means")

    def node(self, operator: str, *inputs: str, output: str, **attributes: object) -> str:
        self.nodes.append(helper.make_node(operator, list(inputs), [output], **attributes))
        return output

    def weight(self, values: object, dtype: type = np.float32) -> str:
        name = f"weight_{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(values, dtype), name))
        return name

    def save(self, path: Path, outputs: Outputs, *, opset: int = 13, integers: Sequence[str] = ()) -> Path:
        infos = [
            helper.make_tensor_value_info(name, TensorProto.INT64 if name in integers else TensorProto.FLOAT, shape)
            for name, shape in outputs
        ]
        graph = helper.make_graph(self.nodes, "small", self.inputs, infos, self.weights)
        graph.doc_string = "made in /home/somebody/project"
        for node in graph.node:
            node.doc_string = 'File "/home/somebody/project/net.py", line 1'
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
        helper.set_model_props(model, {"author": "somebody"})
        onnx.save(model, path)
        return path


def save_fastestdet(path: Path, **options: object) -> Path:
    """Two rows of three cells; objectness 0.25, no offset, half the input wide and high; class scores are the means."""
    network = Network(**options)  # type: ignore[arg-type]
    cells = np.zeros((1, 5, 2, 3), np.float32)
    cells[:, 0] = 0.25
    network.node("Reshape", "means", network.weight([1, 3, 1, 1], np.int64), output="tall")
    network.node("Expand", "tall", network.weight([1, 3, 2, 3], np.int64), output="classes")
    network.node("Concat", network.weight(cells), "classes", output="raw", axis=1)
    return network.save(path, [("raw", (1, 8, 2, 3))])


def save_ultralytics(
    path: Path, *, boxes_xyxy: np.ndarray = BOXES_XYXY, factor: float = 1.0, **options: object
) -> Path:
    """Fixed boxes; each box scores the means for its classes, times `factor`."""
    network = Network(**options)  # type: ignore[arg-type]
    x1, y1, x2, y2 = boxes_xyxy.T
    rows = np.stack([(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1])[None]
    network.node("Mul", "means", network.weight(factor), output="strong")
    network.node("Reshape", "strong", network.weight([1, 3, 1], np.int64), output="tall")
    network.node("Expand", "tall", network.weight([1, 3, len(boxes_xyxy)], np.int64), output="scores")
    network.node("Concat", network.weight(rows), "scores", output="output0", axis=1)
    return network.save(path, [("output0", (1, 7, len(boxes_xyxy)))])


def save_torchvision(path: Path, **options: object) -> Path:
    """Two finished detections, labels 3 and 1, that score the first two means."""
    network = Network(**options)  # type: ignore[arg-type]
    network.node("Slice", "means", *(network.weight([v], np.int64) for v in (0, 2, 1)), output="two")
    network.node("Reshape", "two", network.weight([2], np.int64), output="scores")
    network.node("Identity", network.weight(BOXES_XYXY), output="boxes")
    network.node("Identity", network.weight([3, 1], np.int64), output="labels")
    return network.save(path, [("boxes", (2, 4)), ("scores", (2,)), ("labels", (2,))], integers=["labels"])


def save_end2end(path: Path, **options: object) -> Path:
    """Two finished detections in one table, classes 2 and 0, that score the first two means."""
    network = Network(**options)  # type: ignore[arg-type]
    network.node("Slice", "means", *(network.weight([v], np.int64) for v in (0, 2, 1)), output="two")
    network.node("Reshape", "two", network.weight([1, 2, 1], np.int64), output="scores")
    numbers = network.weight([[[2], [0]]])
    network.node("Concat", network.weight(BOXES_XYXY[None]), "scores", numbers, output="output0", axis=2)
    return network.save(path, [("output0", (1, 2, 6))])


def save_logits(path: Path, *, shape: tuple[int, ...] = (1, 3), **options: object) -> Path:
    """Ten times the means."""
    network = Network(**options)  # type: ignore[arg-type]
    network.node("Mul", "means", network.weight(10.0), output="flat")
    network.node("Reshape", "flat", network.weight(shape, np.int64), output="logits")
    return network.save(path, [("logits", shape)])


def save_probs(path: Path, **options: object) -> Path:
    """A softmax of ten times the means."""
    network = Network(**options)  # type: ignore[arg-type]
    network.node("Mul", "means", network.weight(10.0), output="logits")
    network.node("Softmax", "logits", output="probs", axis=1)
    return network.save(path, [("probs", (1, 3))])


SMALL: dict[str, Callable[..., Path]] = {
    "fastestdet": save_fastestdet,
    "ultralytics": save_ultralytics,
    "torchvision": save_torchvision,
    "end2end": save_end2end,
    "logits": save_logits,
    "probs": save_probs,
}
