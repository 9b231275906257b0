"""Rounds the weights of an int8 TFLite file with `cvforge.export.rounding`, from what the float file computes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cvforge.export.rounding import (
    MAX_WEIGHTS,
    SAME_STEP,
    InputMoments,
    Window,
    compensated,
    grouped_inputs,
    steps_of,
)
from cvforge.export.tflite_graph import Graph
from cvforge.export.tflite_tensors import each_image

INPUT, WEIGHTS = 0, 1
SAME, VALID = 0, 1  # Padding of the format
INT8 = 9  # TensorType of the format


@dataclass(frozen=True)
class Layer:
    """A layer whose weights can be rounded.

    Attributes:
        source: name of the tensor that it reads.
        weights: names of its weights, which can be shared by several layers.
        window: how it moves over its input; None for a fully connected layer.
        groups: of channels.
    """

    source: str
    weights: str
    window: Window | None
    groups: int


def rounded_weights(model: Path, inputs_u8: npt.NDArray[np.uint8]) -> dict[str, npt.NDArray[np.int8]]:
    """The weights of a float file in steps, by tensor name and in the shape of the file.

    Args:
        model: the float file.
        inputs_u8: prepared images (n, h, w, 3) uint8.

    Returns:
        Without those of transposed convolutions and of layers with more than `MAX_WEIGHTS` weights an output.
    """
    from ai_edge_litert.tools import flatbuffer_utils

    graph = Graph(flatbuffer_utils.read_model(str(model)))
    layers = [layer for number in graph.weighted() if (layer := _layer(graph, number)) is not None]
    moments = {layer.weights: InputMoments() for layer in layers}
    rng = np.random.default_rng(0)
    for tensors in each_image(model, inputs_u8, {layer.source for layer in layers}):
        for layer in layers:
            if layer.source in tensors:
                moments[layer.weights].add(_inputs(layer, tensors[layer.source], rng))
    groups = {layer.weights: layer.groups for layer in layers}
    found = {}
    for tensor in graph.subgraph.tensors:
        name = tensor.name.decode("utf-8")
        if name in moments and moments[name].count:
            values = np.frombuffer(bytes(graph.model.buffers[tensor.buffer].data), np.float32).reshape(tensor.shape)
            rounded = compensated(_to_rows(values, groups[name]), moments[name].value())
            found[name] = _from_rows(rounded, values.shape, groups[name])
    return found


def use_rounded(model: Any, rounded: Mapping[str, npt.NDArray[np.int8]], *, source: Path) -> int:
    """Put rounded weights into an int8 file, in place, wherever it has the same steps.

    Args:
        model: object form of the int8 file.
        rounded: from `rounded_weights`.
        source: the float file that both were made of.

    Returns:
        How many weights were replaced; those of layers in float are left.
    """
    from ai_edge_litert.tools import flatbuffer_utils

    steps = _steps(flatbuffer_utils.read_model(str(source)), rounded)
    replaced = 0
    for tensor in model.subgraphs[0].tensors:
        name = tensor.name.decode("utf-8")
        if tensor.type != INT8 or name not in rounded or tuple(tensor.shape) != rounded[name].shape:
            continue
        scale = np.asarray(tensor.quantization.scale, np.float64)
        if scale.shape != steps[name].shape:
            continue
        same = np.isclose(
            scale, steps[name], rtol=SAME_STEP, atol=0
        )  # it has a smallest step for outputs without weights
        axis = tensor.quantization.quantizedDimension
        kept = np.frombuffer(bytes(model.buffers[tensor.buffer].data), np.int8).reshape(rounded[name].shape)
        values = np.where(np.expand_dims(same, [n for n in range(kept.ndim) if n != axis]), rounded[name], kept)
        model.buffers[tensor.buffer].data = np.frombuffer(values.tobytes(), np.uint8)
        replaced += 1
    return replaced


def _steps(model: Any, names: Mapping[str, Any]) -> dict[str, npt.NDArray[np.float64]]:
    """The step (o,) of each output's weights, by tensor name."""
    graph = Graph(model)
    found = {}
    for number in graph.weighted():
        layer = _layer(graph, number)
        if layer is not None and layer.weights in names:
            tensor = graph.subgraph.tensors[int(graph.subgraph.operators[number].inputs[WEIGHTS])]
            values = np.frombuffer(bytes(graph.model.buffers[tensor.buffer].data), np.float32).reshape(tensor.shape)
            found[layer.weights] = steps_of(_to_rows(values, layer.groups)).ravel()
    return found


def _layer(graph: Graph, number: int) -> Layer | None:
    operator = graph.subgraph.operators[number]
    kind = graph.kind(number)
    shapes = [tuple(int(n) for n in graph.subgraph.tensors[int(tensor)].shape) for tensor in operator.inputs[:2]]
    image, weights = shapes[INPUT], shapes[WEIGHTS]
    depthwise = kind == "DEPTHWISE_CONV_2D"
    if kind == "TRANSPOSE_CONV" or (depthwise and weights[-1] != image[-1]) or not graph.is_constant(operator, WEIGHTS):
        return None
    if (int(np.prod(weights[1:3])) if depthwise else int(np.prod(weights[1:]))) > MAX_WEIGHTS:
        return None
    window = None
    if kind != "FULLY_CONNECTED":
        output = tuple(int(n) for n in graph.subgraph.tensors[int(operator.outputs[0])].shape)
        window = _window(operator.builtinOptions, image, weights, output)
    groups = image[-1] if depthwise else image[-1] // weights[-1]
    names = [graph.tensor_name(int(tensor)) for tensor in operator.inputs[:2]]
    return Layer(names[INPUT], names[WEIGHTS], window, groups)


def _window(options: Any, image: tuple[int, ...], weights: tuple[int, ...], output: tuple[int, ...]) -> Window:
    kernel, dilation = weights[1:3], (options.dilationHFactor, options.dilationWFactor)
    stride = (options.strideH, options.strideW)
    before = [0, 0]
    if options.padding == SAME:
        for axis in range(2):
            reach = (output[1 + axis] - 1) * stride[axis] + (kernel[axis] - 1) * dilation[axis] + 1
            before[axis] = max(0, reach - image[1 + axis]) // 2
    return Window((kernel[0], kernel[1]), stride, dilation, (before[0], before[1]), (output[1], output[2]))


def _inputs(layer: Layer, values: npt.NDArray[np.float32], rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """What the weights of a layer are multiplied with: (g, n, k)."""
    if layer.window is None:
        return values.reshape(1, -1, values.shape[-1])
    return grouped_inputs(layer.window.patches(values[0], rng), layer.groups)


def _to_rows(values: npt.NDArray[Any], groups: int) -> npt.NDArray[Any]:
    """Weights of the file as (g, outputs of a group, weights of an output)."""
    if _is_depthwise(values.shape, groups):
        return values.reshape(-1, groups).T[:, None, :]
    return values.reshape(groups, values.shape[0] // groups, -1)


def _from_rows(rows: npt.NDArray[np.int8], shape: tuple[int, ...], groups: int) -> npt.NDArray[np.int8]:
    if _is_depthwise(shape, groups):
        return np.ascontiguousarray(rows[:, 0, :].T).reshape(shape)
    return rows.reshape(shape)


def _is_depthwise(shape: tuple[int, ...], groups: int) -> bool:
    return len(shape) == 4 and shape[0] == 1 and groups == shape[-1] and groups > 1
