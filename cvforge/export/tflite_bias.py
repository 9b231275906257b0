"""Takes back the shift that rounding weights puts on every channel of an int8 TFLite file.

Rounded weights move the mean of a layer's output, most of all in depthwise layers with few weights a channel. The biases
are 32-bit, so the mean difference to the float network over some images can be subtracted exactly, one layer after the other.
Source: Nagel et al. 2019, Data-Free Quantization Through Weight Equalization and Bias Correction, section 4.2 and
appendix D (the empirical form).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cvforge.export.tflite_graph import Graph, to_bytes
from cvforge.export.tflite_tensors import channel_means, read_tensors

BIAS_INPUT = 2
INT32 = 2  # TensorType of the format


def correct_biases(model: Any, *, source: Path, names: Sequence[str], inputs_u8: np.ndarray) -> int:
    """Shift the biases of an int8 file so that every layer's channels keep their float means.

    Args:
        model: object form of the int8 file, changed in place.
        source: the float file that it was made of.
        names: its layers in order: later ones see the corrected earlier ones.
        inputs_u8: prepared images (n, h, w, 3) uint8.

    Returns:
        How many layers were corrected; layers in float and layers without a bias are left.
    """
    graph = Graph(model)
    wanted = _means(read_tensors(source, inputs_u8, set(names)))
    number_of = {graph.name(number): number for number in range(len(graph.subgraph.operators))}
    corrected = 0
    for name in names:
        bias = _bias(graph, number_of.get(name))
        if bias is None or name not in wanted:
            continue
        tensor = int(graph.subgraph.operators[number_of[name]].outputs[0])
        found = channel_means(_with_output(model, tensor), inputs_u8, tensor)
        _shift(model.buffers[bias.buffer], wanted[name] - found, np.asarray(bias.quantization.scale))
        corrected += 1
    return corrected


def _with_output(model: Any, tensor: int) -> bytes:
    """The file with one more output."""
    outputs = model.subgraphs[0].outputs
    model.subgraphs[0].outputs = [*outputs, tensor]
    content = to_bytes(model)
    model.subgraphs[0].outputs = outputs
    return content


def _bias(graph: Graph, number: int | None) -> Any:
    """The int32 bias of an operator, or None."""
    if number is None:
        return None
    inputs = graph.subgraph.operators[number].inputs
    if len(inputs) <= BIAS_INPUT or int(inputs[BIAS_INPUT]) < 0:
        return None
    tensor = graph.subgraph.tensors[int(inputs[BIAS_INPUT])]
    return tensor if tensor.type == INT32 else None


def _means(images: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Mean of every channel of each tensor over all images; channels come last."""
    return {
        name: np.mean([image[name].reshape(-1, image[name].shape[-1]).mean(axis=0) for image in images], axis=0)
        for name in images[0]
    }


def _shift(buffer: Any, difference: np.ndarray, scale: np.ndarray) -> None:
    values = np.frombuffer(bytes(buffer.data), np.int32) + np.round(difference / scale).astype(np.int64)
    limits = np.iinfo(np.int32)
    buffer.data = np.frombuffer(np.clip(values, limits.min, limits.max).astype(np.int32).tobytes(), np.uint8)
