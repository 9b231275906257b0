"""TFLite files of one operator each, written by hand from the format's schema: no converter of ours has a part in them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from cvforge.export.tflite_graph import to_bytes

SIZE_HW = (6, 8)
FEATURES = (1, *SIZE_HW, 3)
VERSIONS = {
    "RESIZE_BILINEAR": 3,
    "RESIZE_NEAREST_NEIGHBOR": 3,
    "FULLY_CONNECTED": 2,
    "TRANSPOSE_CONV": 3,
    "BROADCAST_TO": 2,
}
NUMBER_TYPES = {np.dtype(np.float32): 0, np.dtype(np.int32): 2, np.dtype(np.uint8): 3}
SAME, VALID = 0, 1
ACTIVATIONS = {"none": 0, "relu": 1, "relu_n1_to_1": 2, "relu6": 3}
Built = tuple[str, bytes, set[str]]


class FileBuilder:
    """A graph from `image` (1, 6, 8, 3) uint8 to `y`; `features` are the image's values from -3 to 3."""

    def __init__(self) -> None:
        self._model = schema.ModelT()
        self._model.version, self._model.buffers = 3, [schema.BufferT()]
        self._model.operatorCodes, self._model.signatureDefs = [], [schema.SignatureDefT()]
        self._graph = schema.SubGraphT()
        self._graph.tensors, self._graph.operators = [], []
        self._model.subgraphs = [self._graph]
        self.kinds: set[str] = set()
        self._image = self._tensor(FEATURES, np.uint8)
        wide = self.add("CAST", None, [self._image], FEATURES)
        scaled = self.add("MUL", self.options("Mul"), [wide, np.float32(6 / 255)], FEATURES)
        self.features = self.add("SUB", self.options("Sub"), [scaled, np.float32(3)], FEATURES)

    @staticmethod
    def options(name: str, **values: Any) -> Any:
        """Options of an operator type; what is not given is as the format leaves it."""
        made = getattr(schema, f"{name}OptionsT")()
        for key, value in values.items():
            assert hasattr(made, key), key
            setattr(made, key, value)
        made.kind = getattr(schema.BuiltinOptions, f"{name}Options")
        return made

    def add(self, kind: str, options: Any, inputs: list[Any], shape: tuple[int, ...], dtype: type = np.float32) -> int:
        """Append an operator; inputs are tensor numbers or arrays, which become constants."""
        code = schema.OperatorCodeT()
        code.builtinCode = getattr(schema.BuiltinOperator, kind)
        code.deprecatedBuiltinCode, code.version = min(code.builtinCode, 127), VERSIONS.get(kind, 1)
        self._model.operatorCodes.append(code)
        operator = schema.OperatorT()
        operator.opcodeIndex = len(self._model.operatorCodes) - 1
        operator.inputs = [one if isinstance(one, int) else self._constant(np.asarray(one)) for one in inputs]
        if options is not None:
            operator.builtinOptions, operator.builtinOptionsType = options, options.kind
        output = self._tensor(shape, dtype)
        operator.outputs = [output]
        self._graph.operators.append(operator)
        self.kinds.add(kind)
        return output

    def content(self, output: int) -> bytes:
        """The file."""
        self._graph.inputs, self._graph.outputs = [self._image], [output]
        signature = self._model.signatureDefs[0]
        signature.signatureKey, signature.subgraphIndex = b"serving_default", 0
        signature.inputs, signature.outputs = [self._named(b"image", self._image)], [self._named(b"y", output)]
        return to_bytes(self._model)

    @staticmethod
    def _named(name: bytes, tensor: int) -> Any:
        made = schema.TensorMapT()
        made.name, made.tensorIndex = name, tensor
        return made

    def _tensor(self, shape: tuple[int, ...], dtype: Any, *, buffer: int = 0) -> int:
        tensor = schema.TensorT()
        tensor.shape, tensor.type, tensor.buffer = list(shape), NUMBER_TYPES[np.dtype(dtype)], buffer
        tensor.name = f"t{len(self._graph.tensors)}".encode()
        self._graph.tensors.append(tensor)
        return len(self._graph.tensors) - 1

    def _constant(self, array: np.ndarray) -> int:
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(array.tobytes(), np.uint8)
        self._model.buffers.append(buffer)
        return self._tensor(array.shape, array.dtype, buffer=len(self._model.buffers) - 1)


def operator_files() -> Iterator[Built]:
    """Name, file and operators of every case."""
    for name, kind, options, extra, shape in [*_convolutions(), *_matrices(), *_elementwise(), *_moves(), *_windows()]:
        builder = FileBuilder()
        made = builder.options(options[0], **options[1]) if options is not None else None
        before, after = extra
        inputs = [builder.features if one is ... else one for one in [*before, ..., *after]]
        yield name, builder.content(builder.add(kind, made, inputs, shape)), set(builder.kinds)
    yield _constants()


def _random(*shape: int) -> np.ndarray:
    return np.random.default_rng(len(shape)).normal(0, 0.5, shape).astype(np.float32)


def _int32(*values: int) -> np.ndarray:
    return np.array(values, np.int32)


def _convolutions() -> Iterator[Any]:
    for activation, number in ACTIVATIONS.items():
        options = {"padding": SAME, "strideH": 1, "strideW": 1, "fusedActivationFunction": number}
        options |= {"dilationHFactor": 1, "dilationWFactor": 1}
        weights = (_random(4, 3, 3, 3), _random(4))
        yield f"convolution {activation}", "CONV_2D", ("Conv2D", options), ((), weights), (1, 6, 8, 4)
    plain = {"padding": SAME, "strideH": 2, "strideW": 2, "dilationHFactor": 1, "dilationWFactor": 1}
    strided, valid, wide = plain, plain | {"padding": VALID}, plain | {"strideH": 1, "strideW": 1, "dilationHFactor": 2}
    for name, options, height, width in [("same", strided, 3, 4), ("valid", valid, 2, 3), ("dilated", wide, 6, 8)]:
        yield (
            f"convolution {name}",
            "CONV_2D",
            ("Conv2D", options),
            ((), (_random(4, 3, 3, 3), _random(4))),
            (1, height, width, 4),
        )
        for factor in (1, 2):
            yield (
                f"depthwise {name} x{factor}",
                "DEPTHWISE_CONV_2D",
                ("DepthwiseConv2D", options | {"depthMultiplier": factor}),
                ((), (_random(1, 3, 3, 3 * factor), _random(3 * factor))),
                (1, height, width, 3 * factor),
            )
    groups = (_random(6, 3, 3, 1), _random(6))
    yield "convolution by groups", "CONV_2D", ("Conv2D", strided), ((), groups), (1, 3, 4, 6)
    for name, padding, size in [("same", SAME, (12, 16)), ("valid", VALID, (13, 17))]:
        options = {"padding": padding, "strideH": 2, "strideW": 2}
        shape, weights = (1, *size, 5), _random(5, 3, 3, 3)
        before, options_of = (_int32(*shape), weights), ("TransposeConv", options)
        yield f"transposed {name}", "TRANSPOSE_CONV", options_of, (before, ()), shape
        yield f"transposed {name} with bias", "TRANSPOSE_CONV", options_of, (before, (_random(5),)), shape


def _matrices() -> Iterator[Any]:
    keep = ("FullyConnected", {"keepNumDims": True, "fusedActivationFunction": ACTIVATIONS["relu"]})
    yield "matrix of last axis", "FULLY_CONNECTED", keep, ((), (_random(5, 3), _random(5))), (1, 6, 8, 5)
    flat = ("FullyConnected", {"keepNumDims": False})
    yield "matrix of all", "FULLY_CONNECTED", flat, ((), (_random(5, 144), _random(5))), (1, 5)
    for left in (False, True):
        for right in (False, True):
            options = ("BatchMatMul", {"adjX": left, "adjY": right})
            inner, rows = (8, 3) if left else (3, 8)
            other = _random(1, 6, *((4, inner) if right else (inner, 4)))
            yield f"matrices {left} {right}", "BATCH_MATMUL", options, ((), (other,)), (1, 6, rows, 4)


def _elementwise() -> Iterator[Any]:
    same = FEATURES
    for kind in ("RELU", "RELU6", "LOGISTIC", "TANH", "EXP", "HARD_SWISH"):
        yield kind, kind, None, ((), ()), same
    for kind, options in [("ADD", "Add"), ("SUB", "Sub"), ("MUL", "Mul"), ("DIV", "Div")]:
        chosen = (options, {"fusedActivationFunction": ACTIVATIONS["relu"]})
        yield kind, kind, chosen, ((), (_random(3) + np.float32(2),)), same
        yield f"{kind} of a constant", kind, (options, {}), ((_random(8, 1) + np.float32(2),), ()), same
    for kind in ("MINIMUM", "MAXIMUM"):
        yield kind, kind, ("MaximumMinimum", {}), ((), (_random(1, 1, 8, 1),)), same
    yield "SQUARED_DIFFERENCE", "SQUARED_DIFFERENCE", ("SquaredDifference", {}), ((), (_random(3),)), same
    yield "LEAKY_RELU", "LEAKY_RELU", ("LeakyRelu", {"alpha": 0.1}), ((), ()), same
    for approximate in (False, True):
        yield f"GELU {approximate}", "GELU", ("Gelu", {"approximate": approximate}), ((), ()), same
    for beta in (1.0, 0.5):
        yield f"SOFTMAX {beta}", "SOFTMAX", ("Softmax", {"beta": beta}), ((), ()), same


def _moves() -> Iterator[Any]:
    yield "PAD", "PAD", ("Pad", {}), ((), (np.array([[0, 0], [1, 2], [0, 3], [0, 0]], np.int32),)), (1, 9, 11, 3)
    yield "TRANSPOSE", "TRANSPOSE", ("Transpose", {}), ((), (_int32(0, 3, 1, 2),)), (1, 3, 6, 8)
    yield "RESHAPE", "RESHAPE", ("Reshape", {"newShape": [1, 24, 6]}), ((), (_int32(1, 24, 6),)), (1, 24, 6)
    yield "SLICE", "SLICE", ("Slice", {}), ((), (_int32(0, 1, 2, 0), _int32(1, 4, 5, 2))), (1, 4, 5, 2)
    twice = ("Concatenation", {"axis": 1})
    yield "CONCATENATION", "CONCATENATION", twice, ((), (...,)), (1, 12, 8, 3)
    yield "BROADCAST_TO", "BROADCAST_TO", None, ((), (_int32(*FEATURES),)), FEATURES


def _windows() -> Iterator[Any]:
    for kind in ("MEAN", "SUM", "REDUCE_MAX"):
        yield f"{kind} kept", kind, ("Reducer", {"keepDims": True}), ((), (_int32(1, 2),)), (1, 1, 1, 3)
        yield f"{kind} dropped", kind, ("Reducer", {"keepDims": False}), ((), (_int32(-1),)), (1, 6, 8)
    pool = {"filterHeight": 3, "filterWidth": 2, "strideH": 2, "strideW": 1, "padding": SAME}
    for kind in ("MAX_POOL_2D", "AVERAGE_POOL_2D"):
        yield f"{kind} same", kind, ("Pool2D", pool), ((), ()), (1, 3, 8, 3)
        yield f"{kind} valid", kind, ("Pool2D", pool | {"padding": VALID}), ((), ()), (1, 2, 7, 3)
    for kind, name in [("RESIZE_BILINEAR", "ResizeBilinear"), ("RESIZE_NEAREST_NEIGHBOR", "ResizeNearestNeighbor")]:
        for way in ({}, {"alignCorners": True}, {"halfPixelCenters": True}):
            for size in [(12, 16), (9, 5)]:
                yield f"{kind} {way} {size}", kind, (name, way), ((), (_int32(*size),)), (1, *size, 3)


def _constants() -> Built:
    """A grid of constants that operators shape, and roots of positive numbers: what decoding and normalisation are made of."""
    builder = FileBuilder()
    rows = builder.add("RESHAPE", builder.options("Reshape"), [_random(6), _int32(1, 6, 1, 1)], (1, 6, 1, 1))
    grid = builder.add("BROADCAST_TO", None, [rows, _int32(1, 6, 8, 3)], FEATURES)
    square = builder.add("MUL", builder.options("Mul"), [builder.features, builder.features], FEATURES)
    positive = builder.add("ADD", builder.options("Add"), [square, np.float32(0.1)], FEATURES)
    root = builder.add("SQRT", None, [positive], FEATURES)
    inverse = builder.add("RSQRT", None, [positive], FEATURES)
    both = builder.add("ADD", builder.options("Add"), [root, inverse], FEATURES)
    return (
        "constants",
        builder.content(builder.add("ADD", builder.options("Add"), [both, grid], FEATURES)),
        builder.kinds,
    )
