"""TFLite files of a few operators, put together by hand, and what they give."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from cvforge.export.tflite_edit import operator_code
from cvforge.export.tflite_graph import Graph, tensor_dtypes, to_bytes

CAST_VERSION = 1


class SmallFile:
    """A file under construction; every method that adds something gives the number of its tensor."""

    def __init__(self) -> None:
        self.model = schema.ModelT()
        self.model.version, self.model.operatorCodes, self.model.buffers = 3, [], [schema.BufferT()]
        self.graph = schema.SubGraphT()
        self.graph.tensors, self.graph.operators, self.graph.inputs = [], [], []
        self.model.subgraphs = [self.graph]

    def tensor(self, shape: Sequence[int], dtype: Any = np.float32) -> int:
        made = schema.TensorT()
        made.shape, made.buffer, made.hasRank = list(shape), 0, True
        made.type = next(number for number, known in tensor_dtypes().items() if known == dtype)
        made.name = f"t{len(self.graph.tensors)}".encode()
        self.graph.tensors.append(made)
        return len(self.graph.tensors) - 1

    def input(self, shape: Sequence[int], dtype: type = np.float32) -> int:
        self.graph.inputs.append(self.tensor(shape, dtype))
        return self.graph.inputs[-1]

    def constant(self, values: Any, dtype: type = np.float32) -> int:
        array = np.asarray(values, dtype)
        number = self.tensor(array.shape, dtype)
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(array.tobytes(), np.uint8)
        self.model.buffers.append(buffer)
        self.graph.tensors[number].buffer = len(self.model.buffers) - 1
        return number

    def add(self, kind: str, inputs: Sequence[int], shape: Sequence[int], **options: Any) -> int:
        """An operator of one output; options by the names of the format, under the name of their own type."""
        operator = schema.OperatorT()
        operator.opcodeIndex = operator_code(self.model, kind, version=CAST_VERSION)
        moves_only = kind in ("TRANSPOSE", "RESHAPE", "CONCATENATION", "SLICE")
        dtype = tensor_dtypes()[self.graph.tensors[inputs[0]].type] if moves_only else np.float32
        operator.inputs, operator.outputs = list(inputs), [self.tensor(shape, dtype)]
        if options:
            name = options.pop("type")
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, name)
            operator.builtinOptions = getattr(schema, f"{name}T")()
            for key, value in options.items():
                setattr(operator.builtinOptions, key, value)
        self.graph.operators.append(operator)
        return operator.outputs[0]

    def transpose(self, tensor: int, order: Sequence[int]) -> int:
        shape = [self.graph.tensors[tensor].shape[axis] for axis in order]
        return self.add("TRANSPOSE", [tensor, self.constant(order, np.int32)], shape, type="TransposeOptions")

    def reshape(self, tensor: int, shape: Sequence[int]) -> int:
        places = self.constant(shape, np.int32)
        return self.add("RESHAPE", [tensor, places], shape, type="ReshapeOptions", newShape=list(shape))

    def concatenate(self, tensors: Sequence[int], axis: int) -> int:
        shape = list(self.graph.tensors[tensors[0]].shape)
        shape[axis] = sum(self.graph.tensors[tensor].shape[axis] for tensor in tensors)
        return self.add("CONCATENATION", tensors, shape, type="ConcatenationOptions", axis=axis)

    def slice(self, tensor: int, begin: Sequence[int], size: Sequence[int]) -> int:
        places = [self.constant(begin, np.int32), self.constant(size, np.int32)]
        return self.add("SLICE", [tensor, *places], size, type="SliceOptions")

    def softmax(self, tensor: int) -> int:
        return self.add("SOFTMAX", [tensor], self.graph.tensors[tensor].shape, type="SoftmaxOptions", beta=1.0)

    def finish(self, outputs: Mapping[str, int]) -> Any:
        """The object form of the file, with a signature that names its outputs."""
        self.graph.outputs = list(outputs.values())
        signature = schema.SignatureDefT()
        signature.signatureKey, signature.subgraphIndex = b"serving_default", 0
        signature.inputs = [_named("image", self.graph.inputs[0])]
        signature.outputs = [_named(name, tensor) for name, tensor in outputs.items()]
        self.model.signatureDefs = [signature]
        return schema.ModelT.InitFromPackedBuf(to_bytes(self.model), 0)


def kinds(model: Any) -> list[str]:
    """Types of the operators of a file, in order."""
    graph = Graph(model)
    return [graph.kind(number) for number in range(len(graph.subgraph.operators))]


def run(model: Any, image: np.ndarray) -> dict[str, np.ndarray]:
    """Outputs by name."""
    interpreter = Interpreter(model_content=to_bytes(model), num_threads=1)
    return {name: values.copy() for name, values in interpreter.get_signature_runner()(image=image).items()}


def _named(name: str, tensor: int) -> Any:
    made = schema.TensorMapT()
    made.name, made.tensorIndex = name.encode(), tensor
    return made
