"""The inside of a TFLite file: its operators and tensors, for what converter and quantiser leave to be done.

Works on the object form of the file (`ai_edge_litert.tools.flatbuffer_utils`): lists of operators that refer to tensors
by number.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED")
MIN_WEIGHTS = 1024  # bytes; a smaller matrix is arithmetic, such as the mean over a distribution of distances
LEAKY_RELU_INT8_VERSION = 2
BUFFER_ALIGNMENT = 16
FILE_IDENTIFIER = b"TFL3"
LAYER_PARTS = ";"


class Graph:
    """The operators of a file's only subgraph, and who reads which tensor.

    Args:
        model: object form of the file.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self.subgraph = model.subgraphs[0]
        self._kinds = _operator_names()
        self.readers: dict[int, list[int]] = {}
        self.writer: dict[int, int] = {}
        for number, operator in enumerate(self.subgraph.operators):
            for tensor in operator.inputs:
                self.readers.setdefault(int(tensor), []).append(number)
            for tensor in operator.outputs:
                self.writer[int(tensor)] = number

    def kind(self, number: int) -> str:
        """Name of an operator's type, such as `CONV_2D`."""
        code = self.model.operatorCodes[self.subgraph.operators[number].opcodeIndex]
        value = max(code.builtinCode, code.deprecatedBuiltinCode)
        return self._kinds.get(value, str(value))

    def name(self, number: int) -> str:
        """Name of an operator: that of its first output."""
        return self.tensor_name(int(self.subgraph.operators[number].outputs[0]))

    def tensor_name(self, tensor: int) -> str:
        """Name of a tensor."""
        return str(self.subgraph.tensors[tensor].name.decode("utf-8"))

    def weighted(self) -> Iterator[int]:
        """Operators with trained weights, in order."""
        for number, operator in enumerate(self.subgraph.operators):
            if self.kind(number) in WEIGHTED and any(self._constant_bytes(int(t)) for t in operator.inputs):
                yield number

    def tail(self) -> list[int]:
        """Operators after the last weights: arithmetic on coordinates and scores, not on features."""
        leads_on = set(self.weighted())
        for number in reversed(range(len(self.subgraph.operators))):
            outputs = self.subgraph.operators[number].outputs
            if any(reader in leads_on for tensor in outputs for reader in self.readers.get(int(tensor), ())):
                leads_on.add(number)
        return [number for number in range(len(self.subgraph.operators)) if number not in leads_on]

    def with_sources(self, numbers: Iterable[int]) -> set[int]:
        """Operators and all those that they get their inputs from, back to the image."""
        found: set[int] = set()
        waiting = list(numbers)
        while waiting:
            number = waiting.pop()
            if number not in found:
                found.add(number)
                inputs = self.subgraph.operators[number].inputs
                waiting += [self.writer[int(tensor)] for tensor in inputs if int(tensor) in self.writer]
        return found

    def is_constant(self, operator: Any, position: int) -> bool:
        """Whether an operator reads stored values, rather than computed ones, at one of its inputs."""
        return self.has_data(int(operator.inputs[position]))

    def has_data(self, tensor: int) -> bool:
        """Whether a tensor holds stored values."""
        data = self.model.buffers[self.subgraph.tensors[tensor].buffer].data
        return data is not None and len(data) > 0

    def constant(self, tensor: int) -> npt.NDArray[Any]:
        """The values of a stored tensor."""
        stored = self.subgraph.tensors[tensor]
        data = np.asarray(self.model.buffers[stored.buffer].data, np.uint8)
        shape = () if stored.shape is None else tuple(int(n) for n in stored.shape)
        return data.view(tensor_dtypes()[stored.type]).reshape(shape)

    def tensor_bytes(self, tensor: int) -> int:
        """Size of a tensor in memory."""
        computed = self.subgraph.tensors[tensor]
        return int(np.prod(computed.shape)) * tensor_dtypes()[computed.type].itemsize

    def shape(self, tensor: int) -> tuple[int, ...]:
        """Shape of a tensor."""
        return tuple(int(n) for n in self.subgraph.tensors[tensor].shape)

    def have_equal_steps(self, first: int, second: int) -> bool:
        """Whether the same bytes mean the same numbers in two tensors."""
        one, other = (self.subgraph.tensors[tensor] for tensor in (first, second))
        return one.type == other.type and _steps(one) == _steps(other)

    def _constant_bytes(self, tensor: int) -> bool:
        if tensor < 0 or len(self.subgraph.tensors[tensor].shape) < 2:
            return False
        data = self.model.buffers[self.subgraph.tensors[tensor].buffer].data
        return data is not None and len(data) >= MIN_WEIGHTS


def shorten_names(model: Any) -> None:
    """Replace the converter's tensor names by short ones, in place: a twentieth of a small file is names.

    `cvforge.x.Net/timm.y.Block_3/torch.nn.Conv2d_conv1;;...` becomes `3/conv1`; equal ones get a number.
    """
    used: set[str] = set()
    for tensor in model.subgraphs[0].tensors:
        short = _short(tensor.name.decode("utf-8"))
        unique, number = short, 1
        while unique in used:
            unique, number = f"{short}#{number}", number + 1
        used.add(unique)
        tensor.name = unique.encode("utf-8")


def quantise_leaky(model: Any) -> int:
    """Let leaky rectifiers compute in int8 where the quantiser, which does not know them, put them between casts.

    Returns:
        How many were changed, in place.
    """
    graph = Graph(model)
    operators = graph.subgraph.operators
    gone: set[int] = set()
    changed = 0
    for number in range(len(operators)):
        if graph.kind(number) != "LEAKY_RELU":
            continue
        before = graph.writer.get(int(operators[number].inputs[0]))
        after = graph.readers.get(int(operators[number].outputs[0]), [])
        if before is None or graph.kind(before) != "DEQUANTIZE" or [graph.kind(n) for n in after] != ["QUANTIZE"]:
            continue
        operators[number].inputs = list(operators[before].inputs)
        operators[number].outputs = list(operators[after[0]].outputs)
        model.operatorCodes[operators[number].opcodeIndex].version = LEAKY_RELU_INT8_VERSION
        gone.add(after[0])
        if graph.readers[int(operators[before].outputs[0])] == [number]:
            gone.add(before)
        changed += 1
    graph.subgraph.operators = [operator for number, operator in enumerate(operators) if number not in gone]
    return changed


def _short(name: str) -> str:
    parts = name.partition(LAYER_PARTS)[0].split("/")
    words = [part.rpartition(".")[2] for part in parts]
    kept = [word.partition("_")[2] if "." in part else word for word, part in zip(words, parts, strict=True)]
    return "/".join(word for word in kept if word) or "output"


def _operator_names() -> dict[int, str]:
    """Number of each operator type in the format -> its name."""
    from ai_edge_litert import schema_py_generated as schema

    return {value: name for name, value in vars(schema.BuiltinOperator).items() if not name.startswith("_")}


def _steps(tensor: Any) -> tuple[list[float], list[int]]:
    quantization = tensor.quantization
    if quantization is None or quantization.scale is None:
        return [], []
    return [float(n) for n in quantization.scale], [int(n) for n in quantization.zeroPoint]


def tensor_dtypes() -> dict[int, np.dtype[Any]]:
    """Number of each tensor type that is read here -> what numpy calls it."""
    from ai_edge_litert import schema_py_generated as schema

    types = schema.TensorType
    return {
        types.FLOAT32: np.dtype(np.float32),
        types.INT32: np.dtype(np.int32),
        types.UINT8: np.dtype(np.uint8),
        types.INT64: np.dtype(np.int64),
        types.BOOL: np.dtype(np.bool_),
        types.INT16: np.dtype(np.int16),
        types.INT8: np.dtype(np.int8),
    }


def to_bytes(model: Any) -> bytes:
    """The file; equal arrays are stored once, such as the thousands of zeros that say that weights are symmetric."""
    import flatbuffers

    class SharingBuilder(flatbuffers.Builder):
        """Writes an array that it has written before as a reference to that."""

        def __init__(self) -> None:
            super().__init__(1024)
            self.written: dict[tuple[str, bytes], int] = {}

        def CreateNumpyVector(self, x: Any) -> int:  # noqa: N802 - the name is the base class's
            key = (x.dtype.str, x.tobytes())
            if key not in self.written:
                self.written[key] = super().CreateNumpyVector(x)
            return self.written[key]

        def StartVector(self, elemSize: int, numElems: int, alignment: int) -> int:  # noqa: N802, N803
            # The format asks it of the contents of tensors, which are bytes; the object form forgets it.
            return super().StartVector(elemSize, numElems, BUFFER_ALIGNMENT if elemSize == 1 else alignment)

    for buffer in model.buffers:
        if buffer.data is not None:  # the quantiser leaves lists, which are packed number by number: seconds a megabyte
            buffer.data = np.asarray(buffer.data, np.uint8)
    builder = SharingBuilder()
    builder.Finish(model.Pack(builder), FILE_IDENTIFIER)
    return bytes(builder.Output())
