"""Writes ONNX nodes one by one, under names that no imported network uses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

PREFIX = "cvforge/"
MIN_OPSET = 11
"""Only operators, and forms of them, that mean the same from this opset on are written: Softmax over the last axis of two,
Slice with its limits as inputs, Reshape instead of Squeeze and Unsqueeze."""


class GraphWriter:
    """Nodes and constants in the order in which they were asked for.

    Args:
        part: distinguishes two writers of one graph.

    Attributes:
        nodes: to be put into a graph in this order.
        constants: the tensors they refer to.
    """

    def __init__(self, part: str) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self._prefix = f"{PREFIX}{part}/"

    def add(self, operator: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        """Append a node; the name of its output, which is `output` where that is given."""
        name = f"{self._prefix}{len(self.nodes)}_{operator}"
        result = output or name
        self.nodes.append(onnx.helper.make_node(operator, list(inputs), [result], name=name, **attributes))
        return result

    def constant(self, values: npt.NDArray[Any]) -> str:
        """The name of a tensor with these values."""
        name = f"{self._prefix}constant_{len(self.constants)}"
        self.constants.append(onnx.numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def floats(self, values: Any) -> str:
        """The name of a float32 tensor."""
        return self.constant(np.asarray(values, np.float32))

    def integers(self, values: Any) -> str:
        """The name of an int64 tensor."""
        return self.constant(np.asarray(values, np.int64))

    def reshape(self, tensor: str, shape: Sequence[int], *, output: str | None = None) -> str:
        """The same values in another shape."""
        return self.add("Reshape", tensor, self.integers(shape), output=output)

    def slice(self, tensor: str, first: int, end: int, *, axis: int) -> str:
        """Positions `first` to `end` (not included) of an axis."""
        limits = [self.integers([value]) for value in (first, end, axis)]
        return self.add("Slice", tensor, *limits)
