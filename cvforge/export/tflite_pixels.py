"""The first steps of a TFLite graph, from bytes to normalised floats, as operators that XNNPACK has fast kernels for.

It takes no CAST of bytes, but DEQUANTIZE, which is the same with a step of 1; a factor for all channels becomes that step. A
number for each of three channels that come last costs it a call for each pixel; a row of such numbers costs one for each row.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from cvforge.export.tflite_edit import add_constant, drop_unused, make_equal, operator_code
from cvforge.export.tflite_graph import Graph

NO_OPTIONS = 0
NO_ACTIVATION = 0
DEQUANTIZE_UINT8_VERSION = 1
ARITHMETIC = ("ADD", "SUB", "MUL", "DIV")
MAP_AXES = 4
FEW_CHANNELS = 4


def dequantise_pixels(model: Any) -> bool:
    """Read the image by DEQUANTIZE where it is cast to floats, in place; what is computed stays the same to the last bit.

    Returns:
        Whether the image is cast to floats, and to nothing else.
    """
    from ai_edge_litert import schema_py_generated as schema

    graph = Graph(model)
    types = schema.TensorType
    (image,) = (int(tensor) for tensor in graph.subgraph.inputs)
    readers = graph.readers.get(image, [])
    if len(readers) != 1 or graph.kind(readers[0]) != "CAST":
        return False
    cast = graph.subgraph.operators[readers[0]]
    tensors = graph.subgraph.tensors
    if (tensors[image].type, tensors[int(cast.outputs[0])].type) != (types.UINT8, types.FLOAT32):
        return False
    steps = schema.QuantizationParametersT()
    steps.scale, steps.zeroPoint, steps.quantizedDimension = [_absorb_factor(graph, cast)], [0], 0
    tensors[image].quantization = steps
    cast.opcodeIndex = operator_code(model, "DEQUANTIZE", version=DEQUANTIZE_UINT8_VERSION)
    cast.builtinOptionsType, cast.builtinOptions = NO_OPTIONS, None
    drop_unused(model)
    return True


def stretch_constants(model: Any) -> int:
    """Repeat the numbers of few channels along a row, in place; what is computed stays the same to the last bit.

    Returns:
        How many operators read such a row now.
    """
    graph = Graph(model)
    changed = 0
    for number, operator in enumerate(graph.subgraph.operators):
        if graph.kind(number) not in ARITHMETIC:
            continue
        stored = [place for place, tensor in enumerate(operator.inputs) if graph.has_data(int(tensor))]
        output = graph.shape(int(operator.outputs[0]))
        if len(stored) != 1 or len(output) != MAP_AXES or output[-1] > FEW_CHANNELS:
            continue
        channels = int(operator.inputs[stored[0]])
        values = graph.constant(channels)
        if values.dtype != np.float32 or values.size != output[-1] or values.shape[-1:] != output[-1:]:
            continue
        row = np.tile(values.reshape(1, 1, 1, -1), (1, 1, output[2], 1))
        operator.inputs = list(operator.inputs)
        operator.inputs[stored[0]] = add_constant(graph, row, like=channels)
        changed += 1
    if changed:
        drop_unused(model)
    return changed


def _absorb_factor(graph: Graph, cast: Any) -> float:
    """The number that all pixels are multiplied with next, whose operator goes; 1 where there is none."""
    floats = int(cast.outputs[0])
    readers = graph.readers.get(floats, [])
    if len(readers) != 1 or graph.kind(readers[0]) != "MUL":
        return 1.0
    product = graph.subgraph.operators[readers[0]]
    (factor,) = (int(tensor) for tensor in product.inputs if int(tensor) != floats)
    if product.builtinOptions.fusedActivationFunction != NO_ACTIVATION or not graph.has_data(factor):
        return 1.0
    values = graph.constant(factor)
    output = int(product.outputs[0])
    if values.size != 1 or values.dtype != np.float32 or not values.item() > 0:
        return 1.0
    others = [operator for operator in graph.subgraph.operators if operator is not product]
    if not make_equal(graph, others, source=floats, copied=output):
        return 1.0
    graph.subgraph.operators = others
    return float(values.item())
