"""Changes to the inside of a TFLite file: tensors that come, go, or take the place of others."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from cvforge.export.tflite_graph import Graph, tensor_dtypes

NO_BUFFER = 0
"""Number of the buffer without data, which computed tensors name."""
PLACEHOLDER_CODE = 127
"""What the format's old field of one byte says where the number of an operator does not fit."""


def add_like(graph: Graph, tensor: int, shape: Sequence[int]) -> int:
    """A new computed tensor with the type and steps of another one, but of another shape; its number."""
    tensors = graph.subgraph.tensors
    made = copy.copy(tensors[tensor])
    made.shape, made.shapeSignature, made.buffer = list(shape), None, NO_BUFFER
    made.name = f"{made.name.decode('utf-8')}~{len(tensors)}".encode()
    tensors.append(made)
    return len(tensors) - 1


def add_constant(graph: Graph, values: npt.NDArray[Any], *, like: int | None = None) -> int:
    """A new stored tensor, with the type and steps of another one where that is given; its number."""
    from ai_edge_litert import schema_py_generated as schema

    tensors = graph.subgraph.tensors
    made = schema.TensorT() if like is None else copy.copy(tensors[like])
    if like is None:
        made.type = next(number for number, dtype in tensor_dtypes().items() if dtype == values.dtype)
        made.hasRank = True
    made.shape, made.shapeSignature, made.buffer = list(values.shape), None, len(graph.model.buffers)
    made.name = f"constant~{len(tensors)}".encode()
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8)
    graph.model.buffers.append(buffer)
    tensors.append(made)
    return len(tensors) - 1


def make_equal(graph: Graph, operators: Sequence[Any], *, source: int, copied: int) -> bool:
    """Let one tensor stand for another that holds the same; whoever wrote the other is left without readers.

    Args:
        graph: of the file.
        operators: those that are changed, in place.
        source: tensor that stays, where the file does not give the other one as an output.
        copied: the other one.

    Returns:
        Whether that can be: not where the file gives both, gives one that it takes or stores, or where steps differ.
    """
    outputs = {int(tensor) for tensor in graph.subgraph.outputs}
    gone, kept = (source, copied) if copied in outputs else (copied, source)
    written = any(gone == int(tensor) for operator in operators for tensor in operator.outputs)
    if gone in outputs or (gone == source and not written) or not graph.have_equal_steps(source, copied):
        return False
    for operator in operators:
        operator.inputs = [kept if int(tensor) == gone else int(tensor) for tensor in operator.inputs]
        if gone == source:
            operator.outputs = [kept if int(tensor) == gone else int(tensor) for tensor in operator.outputs]
    return True


def drop_unused(model: Any) -> None:
    """Take out operators whose outputs nobody reads, and tensors that no operator names any more."""
    subgraph = model.subgraphs[0]
    named = {int(tensor) for tensor in subgraph.outputs}
    kept = []
    for operator in reversed(subgraph.operators):
        if named.intersection(map(int, operator.outputs)):
            named.update(int(tensor) for tensor in (*operator.inputs, *operator.outputs) if int(tensor) >= 0)
            kept.append(operator)
    subgraph.operators = kept[::-1]
    named.update(int(tensor) for tensor in subgraph.inputs)
    numbers = {tensor: place for place, tensor in enumerate(sorted(named))}
    used = {subgraph.tensors[tensor].buffer for tensor in numbers}
    for stored in subgraph.tensors:
        if stored.buffer not in used:
            model.buffers[stored.buffer].data = None
    subgraph.tensors = [subgraph.tensors[tensor] for tensor in numbers]
    for owner in (subgraph, *subgraph.operators):
        owner.inputs = [numbers.get(int(tensor), int(tensor)) for tensor in owner.inputs]
        owner.outputs = [numbers[int(tensor)] for tensor in owner.outputs]
    for signature in model.signatureDefs or ():
        for one in (*signature.inputs, *signature.outputs):
            one.tensorIndex = numbers[int(one.tensorIndex)]


def operator_code(model: Any, kind: str, *, version: int) -> int:
    """Number by which operators of a file refer to a type of operator; it is added where the file has none of it."""
    from ai_edge_litert import schema_py_generated as schema

    value = getattr(schema.BuiltinOperator, kind)
    for number, code in enumerate(model.operatorCodes):
        if max(code.builtinCode, code.deprecatedBuiltinCode) == value and code.version >= version:
            return number
    made = schema.OperatorCodeT()
    made.builtinCode, made.deprecatedBuiltinCode = value, min(value, PLACEHOLDER_CODE)
    made.version = version
    model.operatorCodes.append(made)
    return len(model.operatorCodes) - 1
