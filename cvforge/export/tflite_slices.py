"""Slices of concatenations in a TFLite file: they read the part that they take, and nothing is put together to be taken apart."""

from __future__ import annotations

from typing import Any

from cvforge.export.tflite_edit import add_constant, drop_unused, make_equal
from cvforge.export.tflite_graph import Graph

NO_ACTIVATION = 0


def slice_parts(model: Any) -> int:
    """Let slices read from what was concatenated, in place; what is computed stays the same to the last bit.

    Returns:
        How many slices were changed or left out.
    """
    changed = 0
    while _slice_one(model):
        changed += 1
    if changed:
        drop_unused(model)
    return changed


def _slice_one(model: Any) -> bool:
    graph = Graph(model)
    for number, operator in enumerate(graph.subgraph.operators):
        whole = int(operator.inputs[0]) if len(operator.inputs) else -1
        writer = graph.writer.get(whole)
        if graph.kind(number) != "SLICE" or writer is None or graph.kind(writer) != "CONCATENATION":
            continue
        joined = graph.subgraph.operators[writer]
        if joined.builtinOptions.fusedActivationFunction != NO_ACTIVATION:
            continue
        if not all(graph.has_data(int(tensor)) for tensor in operator.inputs[1:]):
            continue
        begin = graph.constant(int(operator.inputs[1]))
        axis = int(joined.builtinOptions.axis) % len(begin)
        part, offset = _part(graph, joined, axis=axis, place=int(begin[axis]), output=int(operator.outputs[0]))
        if part is None or not graph.have_equal_steps(part, whole):
            continue
        output = int(operator.outputs[0])
        if list(graph.shape(part)) != list(graph.shape(output)):
            moved = begin.copy()
            moved[axis] -= offset
            operator.inputs = [part, add_constant(graph, moved), int(operator.inputs[2])]
            return True
        if make_equal(graph, graph.subgraph.operators, source=part, copied=output):
            del graph.subgraph.operators[number]
            return True
    return False


def _part(graph: Graph, joined: Any, *, axis: int, place: int, output: int) -> tuple[int | None, int]:
    """The input of a concatenation that a slice lies in, and where that begins."""
    size, offset = int(graph.shape(output)[axis]), 0
    for tensor in map(int, joined.inputs):
        length = int(graph.shape(tensor)[axis])
        if offset <= place and place + size <= offset + length:
            return tensor, offset
        offset += length
    return None, 0
