"""Transpositions of a TFLite file moved towards its outputs, where most of them cancel each other.

A PyTorch head that was written for channels first leaves one transposition for each feature map, and one back at the end; the
converter keeps them all. What lies between rarely minds the order of axes.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cvforge.export.tflite_axes import inverse, reshaped
from cvforge.export.tflite_edit import add_constant, add_like, drop_unused, make_equal
from cvforge.export.tflite_graph import Graph

ONE_INPUT = (
    "CAST",
    "LOGISTIC",
    "TANH",
    "RELU",
    "RELU6",
    "LEAKY_RELU",
    "HARD_SWISH",
    "GELU",
    "EXP",
    "QUANTIZE",
    "DEQUANTIZE",
)
GROWING = ("CAST", "DEQUANTIZE", "PAD")
"""Behind them there are more bytes to move; XNNPACK pads as a convolution reads, but not with a transposition between."""
TWO_INPUTS = ("ADD", "SUB", "MUL", "DIV", "MAXIMUM", "MINIMUM")
LAST_AXIS = ("SOFTMAX",)
AXIS_BY_AXIS = ("SLICE", "PAD")  # their further inputs say something of each axis
POINTWISE = 1
INT32 = np.dtype(np.int32)


@dataclass(frozen=True)
class _Moved:
    """A tensor that exists only in another order of axes: it is `base`, transposed by `order`."""

    base: int
    order: tuple[int, ...]


def sink_transposes(model: Any) -> int:
    """Move transpositions towards the outputs, in place; what is computed stays the same to the last bit.

    Returns:
        How many bytes fewer are transposed; 0 where nothing was won, and then nothing is changed.
    """
    before = _transposed_bytes(Graph(model))
    if not before:
        return 0
    trial = _Sinking(copy.deepcopy(model))
    trial.run()
    saved = before - _transposed_bytes(Graph(trial.model))
    if saved <= 0:
        return 0
    drop_unused(trial.model)
    for part in ("subgraphs", "buffers", "signatureDefs"):
        setattr(model, part, getattr(trial.model, part))
    return saved


class _Sinking:
    """One walk over the operators in their order."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self._graph = Graph(model)
        self._tensors = self._graph.subgraph.tensors
        self._moved: dict[int, _Moved] = {}
        self._there: set[int] = set()  # moved tensors that exist in their own order, too
        self._grown: dict[int, Any] = {}  # moved tensor -> the operator of `GROWING` that it comes from
        self._made: list[Any] = []
        self._transpose: Any = None

    def run(self) -> None:
        for number, operator in enumerate(self._graph.subgraph.operators):
            kind = self._graph.kind(number)
            if kind == "TRANSPOSE" and self._graph.is_constant(operator, 1):
                self._transpose = self._transpose or operator
                self._compose(operator)
            elif not self._passes(kind, operator):
                for tensor in operator.inputs:
                    self._materialise(int(tensor))
                self._made.append(operator)
        for tensor in self._graph.subgraph.outputs:
            self._materialise(int(tensor))
        self._graph.subgraph.operators = self._made

    def _compose(self, operator: Any) -> None:
        source, output = int(operator.inputs[0]), int(operator.outputs[0])
        order = tuple(int(axis) for axis in self._graph.constant(int(operator.inputs[1])))
        before = self._moved.get(source, _Moved(source, tuple(range(len(order)))))
        self._moved[output] = _Moved(before.base, tuple(before.order[axis] for axis in order))

    def _materialise(self, tensor: int) -> None:
        moved = self._moved.get(tensor)
        if moved is None or tensor in self._there:
            return
        self._there.add(tensor)
        if _is_plain(moved.order) and self._make_equal(moved.base, tensor):
            return
        if self._undo(tensor):
            return
        operator = copy.copy(self._transpose)
        operator.inputs = [moved.base, add_constant(self._graph, np.array(moved.order, INT32))]
        operator.outputs = [tensor]
        self._made.append(operator)

    def _undo(self, tensor: int) -> bool:
        """Turn what an operator of `GROWING` reads instead of what it gives, where only one of them is wanted."""
        operator, moved = self._grown.get(tensor), self._moved[tensor]
        others = any(one.base == moved.base for key, one in self._moved.items() if key != tensor)
        if operator is None or others or any(moved.base in map(int, made.inputs) for made in self._made):
            return False
        self._made = [made for made in self._made if moved.base not in map(int, made.outputs)]
        del self._moved[tensor]
        self._materialise(int(operator.inputs[0]))
        self._made.append(operator)
        return True

    def _make_equal(self, base: int, tensor: int) -> bool:
        """A tensor that came back to its first order is its base, for all operators before and behind."""
        everything = [*self._made, *self._graph.subgraph.operators]
        if not make_equal(self._graph, everything, source=base, copied=tensor):
            return False
        is_output = tensor in {int(one) for one in self._graph.subgraph.outputs}
        if is_output:
            self._moved = {
                key: _Moved(tensor, one.order) if one.base == base else one for key, one in self._moved.items()
            }
        return True

    def _passes(self, kind: str, operator: Any) -> bool:
        """Emit an operator in the order of its moved inputs, where it can be."""
        moved = [self._moved.get(int(tensor)) for tensor in operator.inputs]
        if not any(moved):
            return False
        if kind in GROWING:
            self._grown[int(operator.outputs[0])] = operator
        if kind in ONE_INPUT:
            return self._emit(operator, moved[0])
        if kind in LAST_AXIS:
            return _keeps_last(moved[0]) and self._emit(operator, moved[0])
        if kind == "CONV_2D":
            return self._convolution(operator, moved)
        if kind in TWO_INPUTS:
            return self._two_inputs(operator, moved)
        if kind == "CONCATENATION":
            return self._concatenation(operator, moved)
        if kind in AXIS_BY_AXIS:
            return self._axis_by_axis(operator, moved[0])
        return kind == "RESHAPE" and self._reshape(operator, moved[0])

    def _emit(self, operator: Any, moved: _Moved | None, inputs: Sequence[int] = ()) -> bool:
        if moved is None:
            return False
        made, output = copy.copy(operator), int(operator.outputs[0])
        made.inputs = list(inputs) or [moved.base, *(int(tensor) for tensor in operator.inputs[1:])]
        self._give(made, output, shape=self._permuted(output, inverse(moved.order)), order=moved.order)
        return True

    def _give(self, made: Any, output: int, *, shape: Sequence[int], order: tuple[int, ...]) -> None:
        """Take an operator up, which gives the tensor itself or the one that it is a transposition of."""
        made.outputs = [output]
        if not _is_plain(order):
            made.outputs = [add_like(self._graph, output, shape)]
            self._moved[output] = _Moved(made.outputs[0], order)
        self._made.append(made)

    def _permuted(self, tensor: int, order: Sequence[int]) -> list[int]:
        shape = self._tensors[tensor].shape
        return [int(shape[axis]) for axis in order]

    def _convolution(self, operator: Any, moved: Sequence[_Moved | None]) -> bool:
        """One pixel at a time: rows and columns may trade places."""
        kernel, options = self._tensors[int(operator.inputs[1])].shape, operator.builtinOptions
        pointwise = all(int(n) == POINTWISE for n in (*kernel[1:3], options.strideH, options.strideW))
        first = moved[0]
        return pointwise and _keeps_last(first) and first.order[0] == 0 and self._emit(operator, first)  # type: ignore[union-attr]

    def _two_inputs(self, operator: Any, moved: Sequence[_Moved | None]) -> bool:
        given = next(one for one in moved if one is not None)
        inputs = []
        for tensor, one in zip(map(int, operator.inputs), moved, strict=True):
            if one is not None and one.order == given.order:
                inputs.append(one.base)
            elif one is None and self._graph.has_data(tensor) and not self._is_per_axis(tensor):
                inputs.append(self._permuted_constant(tensor, inverse(given.order)))
            else:
                return False
        return self._emit(operator, given, inputs)

    def _is_per_axis(self, tensor: int) -> bool:
        quantization = self._tensors[tensor].quantization
        return quantization is not None and quantization.scale is not None and len(quantization.scale) > 1

    def _permuted_constant(self, tensor: int, order: Sequence[int]) -> int:
        values = self._graph.constant(tensor)
        if values.size == 1:
            return tensor
        full = values.reshape((1,) * (len(order) - values.ndim) + values.shape)
        return add_constant(self._graph, full.transpose(order), like=tensor)

    def _concatenation(self, operator: Any, moved: Sequence[_Moved | None]) -> bool:
        first = moved[0]
        if first is None or any(one is None or one.order != first.order for one in moved):
            return False
        axis = int(operator.builtinOptions.axis) % len(first.order)
        turned = copy.copy(operator)
        turned.builtinOptions = copy.copy(operator.builtinOptions)
        turned.builtinOptions.axis = first.order[axis]
        return self._emit(turned, first, [one.base for one in moved if one is not None])

    def _axis_by_axis(self, operator: Any, moved: _Moved | None) -> bool:
        if moved is None or not all(self._graph.has_data(int(tensor)) for tensor in operator.inputs[1:]):
            return False
        places = [self._graph.constant(int(tensor)) for tensor in operator.inputs[1:]]
        order = list(inverse(moved.order))
        return self._emit(operator, moved, [moved.base, *(add_constant(self._graph, each[order]) for each in places)])

    def _reshape(self, operator: Any, moved: _Moved | None) -> bool:
        if moved is None:
            return False
        output = int(operator.outputs[0])
        base = [int(n) for n in self._tensors[moved.base].shape]
        found = reshaped(base, moved.order, [int(n) for n in self._tensors[output].shape])
        if found is None:
            return False
        shape, order = found
        made = copy.copy(operator)
        made.builtinOptions = copy.copy(operator.builtinOptions)
        if made.builtinOptions is not None:
            made.builtinOptions.newShape = list(shape)
        made.inputs = [moved.base, add_constant(self._graph, np.array(shape, INT32))]
        self._give(made, output, shape=shape, order=order)
        return True


def _is_plain(order: Sequence[int]) -> bool:
    return list(order) == sorted(order)


def _keeps_last(moved: _Moved | None) -> bool:
    return moved is not None and moved.order[-1] == len(moved.order) - 1


def _transposed_bytes(graph: Graph) -> int:
    numbers = range(len(graph.subgraph.operators))
    outputs = [graph.subgraph.operators[n].outputs[0] for n in numbers if graph.kind(n) == "TRANSPOSE"]
    return sum(graph.tensor_bytes(int(tensor)) for tensor in outputs)
