"""A TensorFlow Lite file as a function of TensorFlow, operator by operator; imported in the worker only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from cvforge.export.savedmodel.operators import ACTIVATIONS, OPERATORS, Call, fused_activation
from cvforge.export.tflite_graph import Graph

_DTYPES = {0: np.float32, 1: np.float16, 2: np.int32, 3: np.uint8, 4: np.int64, 6: np.bool_}
"""Number of a tensor type in the format -> numpy."""


class TFLiteFunction:
    """The network of a float file.

    Args:
        path: a file with one graph and one signature, as `cvforge.export.tflite` writes it.

    Raises:
        NotImplementedError: the file uses operators or number types that have no form here; the message names them.
    """

    def __init__(self, path: Path) -> None:
        from ai_edge_litert.tools import flatbuffer_utils

        model = flatbuffer_utils.read_model(str(path))
        self._graph = Graph(model)
        self._tensors = model.subgraphs[0].tensors
        self._kinds = [self._graph.kind(number) for number in range(len(model.subgraphs[0].operators))]
        unknown = {f"operator {kind}" for kind in self._kinds if kind not in OPERATORS}
        unknown |= {f"number type {tensor.type}" for tensor in self._tensors if tensor.type not in _DTYPES}
        activations = {fused_activation(operator.builtinOptions) for operator in model.subgraphs[0].operators}
        unknown |= {f"fused activation {number}" for number in activations - ACTIVATIONS.keys()}
        if unknown:
            raise NotImplementedError(f"no TensorFlow form for {', '.join(sorted(unknown))}")
        self._constants = {n: a for n in range(len(self._tensors)) if (a := self._constant(n)) is not None}
        signature = model.signatureDefs[0]
        self._input = int(signature.inputs[0].tensorIndex)
        self._outputs = {output.name.decode("utf-8"): int(output.tensorIndex) for output in signature.outputs}
        self.size_hw: tuple[int, int] = self._shape(self._input)[1:3]  # type: ignore[assignment]

    @property
    def outputs(self) -> Mapping[str, np.dtype[Any]]:
        """Name and number type of every output."""
        return {name: self._dtype(tensor) for name, tensor in self._outputs.items()}

    def __call__(self, images: Any, *, open_batch: bool) -> dict[str, Any]:
        """Outputs by name.

        Args:
            images: tensor (b, h, w, 3) uint8; b is 1 unless the batch is open.
            open_batch: let the first axis of whatever follows from the images have as many rows as there are images. Right
                only for networks that keep the batch in front throughout.
        """
        values: dict[int, Any] = {**self._constants, self._input: images}
        for kind, operator in zip(self._kinds, self._graph.subgraph.operators, strict=True):
            inputs = tuple(values[int(number)] if number >= 0 else None for number in operator.inputs)
            output = int(operator.outputs[0])
            fixed = all(value is None or isinstance(value, np.ndarray) for value in inputs)
            shape = self._shape(output)
            if open_batch and not fixed:
                shape = (-1, *shape[1:])
            call = Call(operator.builtinOptions, inputs, shape, self._dtype(output))
            values[output] = _computed(OPERATORS[kind], call) if fixed else OPERATORS[kind](call)
        return {name: values[tensor] for name, tensor in self._outputs.items()}

    def _constant(self, number: int) -> np.ndarray | None:
        data = self._graph.model.buffers[self._tensors[number].buffer].data
        if data is None or len(data) == 0:
            return None
        return np.frombuffer(bytes(data), self._dtype(number)).reshape(self._shape(number))

    def _shape(self, number: int) -> tuple[int, ...]:
        shape = self._tensors[number].shape
        return () if shape is None else tuple(int(size) for size in shape)

    def _dtype(self, number: int) -> np.dtype[Any]:
        return np.dtype(_DTYPES[self._tensors[number].type])


def _computed(write: Callable[[Call], Any], call: Call) -> np.ndarray:
    """The value of an operator whose inputs are all constant, such as a grid of coordinates."""
    with tf.init_scope():
        return np.asarray(write(call).numpy())
