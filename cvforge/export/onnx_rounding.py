"""Rounds the weights of an int8 ONNX file with `cvforge.export.rounding`, from what the float file computes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import helper, numpy_helper

from cvforge.export.rounding import (
    MAX_WEIGHTS,
    SAME_STEP,
    InputMoments,
    Window,
    compensated,
    grouped_inputs,
    steps_of,
)

INPUT, WEIGHTS = 0, 1
QUANTISED, SCALE = "_quantized", "_scale"  # what ONNX Runtime adds to the name of weights


@dataclass(frozen=True)
class Layer:
    """A layer whose weights can be rounded.

    Attributes:
        kind: `Conv`, `Gemm` or `MatMul`.
        source: name of the tensor that it reads.
        weights: name of its weights, which can be shared by several layers.
        attributes: of the node.
    """

    kind: str
    source: str
    weights: str
    attributes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def groups(self) -> int:
        """Of channels."""
        return int(self.attributes.get("group", 1))

    def rows(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Weights of the file as (g, outputs of a group, weights of an output)."""
        if self.kind == "Conv":
            values = np.moveaxis(values, 1, -1)
            return values.reshape(self.groups, values.shape[0] // self.groups, -1)
        return (values if self._outputs_first else values.T)[None]

    def values(self, rows: npt.NDArray[np.int8], shape: tuple[int, ...]) -> npt.NDArray[np.int8]:
        """The inverse of `rows`, in the shape of the file."""
        if self.kind == "Conv":
            return np.ascontiguousarray(np.moveaxis(rows.reshape(shape[0], *shape[2:], shape[1]), -1, 1))
        return np.ascontiguousarray(rows[0] if self._outputs_first else rows[0].T)

    def inputs(
        self, tensor: npt.NDArray[np.float32], kernel: tuple[int, ...], rng: np.random.Generator
    ) -> npt.NDArray[np.float32]:
        """What the weights are multiplied with, (g, n, k), for a tensor of one image."""
        if self.kind != "Conv":
            return tensor.reshape(1, -1, tensor.shape[-1])
        window = self._window((tensor.shape[2], tensor.shape[3]), kernel)
        return grouped_inputs(window.patches(np.moveaxis(tensor[0], 0, -1), rng), self.groups)

    @property
    def output_axis(self) -> int:
        """The axis of the stored weights that counts outputs."""
        return 0 if self.kind == "Conv" or self._outputs_first else 1

    @property
    def _outputs_first(self) -> bool:
        return self.kind == "Gemm" and bool(self.attributes.get("transB", 0))

    def _window(self, image_hw: tuple[int, int], kernel: tuple[int, ...]) -> Window:
        strides, dilations = (tuple(self.attributes.get(name, (1, 1))) for name in ("strides", "dilations"))
        pads = self.attributes.get("pads", (0, 0, 0, 0))
        padding = self.attributes.get("auto_pad", b"NOTSET").decode()
        before, output = [], []
        for axis in range(2):
            reach = (kernel[axis] - 1) * dilations[axis] + 1
            if padding.startswith("SAME"):
                count = -(-image_hw[axis] // strides[axis])
                added = max(0, (count - 1) * strides[axis] + reach - image_hw[axis])
                before.append(added // 2 if padding == "SAME_UPPER" else added - added // 2)
            else:
                before.append(pads[axis])
                count = (image_hw[axis] + pads[axis] + pads[axis + 2] - reach) // strides[axis] + 1
            output.append(count)
        return Window((kernel[0], kernel[1]), strides, dilations, (before[0], before[1]), (output[0], output[1]))


class OnnxRounding:
    """Rounded weights of a float graph.

    Args:
        graph: with named weights.
        weighted: its nodes with trained weights.
    """

    def __init__(self, graph: Any, weighted: Iterable[Any]) -> None:
        self._weights = {weight.name: numpy_helper.to_array(weight) for weight in graph.initializer}
        self._layers = [layer for node in weighted if (layer := self._layer(node)) is not None]
        self._rounded: dict[str, npt.NDArray[np.int8]] = {}

    @property
    def sources(self) -> list[str]:
        """Names of the tensors that `learn` needs."""
        return sorted({layer.source for layer in self._layers})

    def learn(self, images: Iterable[Mapping[str, npt.NDArray[np.float32]]]) -> None:
        """Round all weights, from the tensors of some images, one entry an image."""
        moments = {layer.weights: InputMoments() for layer in self._layers}
        rng = np.random.default_rng(0)
        for tensors in images:
            for layer in self._layers:
                kernel = self._weights[layer.weights].shape[2:]
                moments[layer.weights].add(layer.inputs(tensors[layer.source], kernel, rng))
        for layer in self._layers:
            if layer.weights not in self._rounded:
                values = self._weights[layer.weights]
                rows = compensated(layer.rows(values), moments[layer.weights].value())
                self._rounded[layer.weights] = layer.values(rows, values.shape)

    def apply(self, graph: Any) -> int:
        """Put the rounded weights into an int8 graph, in place, wherever it has the same steps.

        Returns:
            How many weights were replaced; those of layers in float are left.
        """
        stored = {weight.name: weight for weight in graph.initializer}
        replaced = 0
        for layer in {layer.weights: layer for layer in self._layers}.values():
            quantised, scale = stored.get(layer.weights + QUANTISED), stored.get(layer.weights + SCALE)
            if quantised is None or scale is None:
                continue
            steps = steps_of(layer.rows(self._weights[layer.weights])).ravel()
            found, kept = numpy_helper.to_array(scale), numpy_helper.to_array(quantised)
            if found.shape != steps.shape or kept.dtype != np.int8:
                continue
            same = np.isclose(found, steps, rtol=SAME_STEP, atol=0)
            same = np.expand_dims(same, [n for n in range(kept.ndim) if n != layer.output_axis])
            values = np.where(same, self._rounded[layer.weights], kept)
            quantised.CopyFrom(numpy_helper.from_array(values, quantised.name))
            replaced += 1
        return replaced

    def _layer(self, node: Any) -> Layer | None:
        weights = self._weights.get(node.input[WEIGHTS])
        attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
        rank = {"Conv": 4, "Gemm": 2, "MatMul": 2}.get(node.op_type)
        if weights is None or weights.ndim != rank or attributes.get("transA", 0):
            return None
        layer = Layer(node.op_type, node.input[INPUT], node.input[WEIGHTS], attributes)
        return layer if layer.rows(weights).shape[2] <= MAX_WEIGHTS else None
