"""An imported network between a prologue and a decode epilogue: one graph of the contract, and its twin in numpy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from cvforge.errors import ExportError
from cvforge.export.heads.head import DecodeSpec, Head
from cvforge.export.heads.writer import PREFIX, GraphWriter
from cvforge.export.onnx import subgraphs
from cvforge.export.original import ImageInput, Original
from cvforge.export.wrap import INPUT_NAME, OUTPUT_ROLES
from cvforge_edge.types import Task

ASIDE = "original/"
"""Put before a name of the imported graph that the contract needs for itself."""
BOX_COLUMNS = 4
FLOAT_TYPES = (onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE, onnx.TensorProto.BFLOAT16)


@dataclass(frozen=True)
class Normalisation:
    """What the network expects of pixels: (pixel * scale - mean) / std, channel by channel.

    Attributes:
        color: order of the channels, `rgb` or `bgr`.
        scale: factor of grey levels 0 to 255.
        mean: of the scaled channels, in the order of `color`.
        std: of the scaled channels, in the order of `color`, none of them 0.
    """

    color: str
    scale: float
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def apply(self, image_u8: npt.NDArray[np.uint8], image: ImageInput) -> npt.NDArray[Any]:
        """The network's input in numpy, for a (1, h, w, 3) uint8 RGB image."""
        ordered = image_u8[..., ::-1] if self.color == "bgr" else image_u8
        if not image.takes_bytes:
            scaled = ordered.astype(np.float32) * np.float32(self.scale)
            ordered = (scaled - np.array(self.mean, np.float32)) / np.array(self.std, np.float32)
        if image.layout != "nhwc":
            ordered = ordered.transpose(0, 3, 1, 2)
        typed = ordered.astype(onnx.helper.tensor_dtype_to_np_dtype(image.element_type))
        return np.ascontiguousarray(typed.reshape(image.shape))


@dataclass(frozen=True, eq=False)
class Import:
    """Everything that makes a graph of the contract out of a file.

    Attributes:
        original: the network.
        head: its kind.
        outputs: names of the outputs that the head reads, in its order.
        decode: what decoding needs to know.
        normalisation: what the network expects of pixels.
    """

    original: Original
    head: Head
    outputs: tuple[str, ...]
    decode: DecodeSpec
    normalisation: Normalisation


def compose(plan: Import) -> onnx.ModelProto:
    """The whole graph: `image` (1, h, w, 3) uint8 RGB in, the outputs of the contract out, all of fixed shape.

    The imported nodes and weights stay as they are, in their own opset; only a name that the contract needs is changed.

    Raises:
        ExportError: the parts do not fit together.
    """
    model = onnx.ModelProto()
    model.CopyFrom(plan.original.model)
    graph = model.graph
    roles = OUTPUT_ROLES[plan.head.task]
    taken = {name for name in _names(graph) if name in (INPUT_NAME, *roles)}
    aside = {name: ASIDE + name for name in taken}
    _rename(graph, aside)
    feeds = aside.get(plan.original.image.name, plan.original.image.name)
    reads = [aside.get(name, name) for name in plan.outputs]
    if any(name.startswith(PREFIX) for name in _names(graph)):
        raise ExportError(
            f"{plan.original.path.name}: it holds names that begin with {PREFIX}, so it was imported before; give the "
            "file that the network was exported to"
        )
    prologue, epilogue = GraphWriter("prologue"), GraphWriter("decode")
    _write_prologue(prologue, plan, feeds=feeds)
    _write_epilogue(epilogue, plan, reads=reads, types={entry.name: entry for entry in graph.output})
    nodes = _needed([*prologue.nodes, *graph.node, *epilogue.nodes], roles)
    constants = [*graph.initializer, *prologue.constants, *epilogue.constants]
    read = {name for node in nodes for name in _read_by(node)}
    del graph.node[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend(constant for constant in constants if constant.name in read)
    _declare(graph, plan, roles)
    return _inferred(model, where=plan.original.path.name)


def role_shape(role: str, plan: Import) -> tuple[int, ...]:
    """The fixed shape of an output of the contract."""
    classes = plan.decode.num_classes
    if plan.head.task is Task.CLASSIFICATION:
        return (1, classes)
    return (1, candidates(plan), BOX_COLUMNS if role == "boxes" else classes)


def candidates(plan: Import) -> int:
    """Rows of `boxes`: what the head makes of an all-zero output."""
    arrays = [np.zeros([size or 0 for size in shape], np.float32) for shape in plan.decode.shapes]
    return int(plan.head.decode(arrays, plan.decode)["boxes"].shape[1])


def _write_prologue(graph: GraphWriter, plan: Import, *, feeds: str) -> None:
    image, normalisation = plan.original.image, plan.normalisation
    tensor = INPUT_NAME
    planes_first = image.layout != "nhwc"
    if planes_first:
        tensor = graph.add("Transpose", tensor, perm=[0, 3, 1, 2])  # while a pixel is one byte
    if normalisation.color == "bgr":  # whole planes where there are any: pixel by pixel it takes milliseconds
        tensor = graph.add("Gather", tensor, graph.integers([2, 1, 0]), axis=1 if planes_first else 3)
    if not image.takes_bytes:
        tensor = graph.add("Cast", tensor, to=onnx.TensorProto.FLOAT)
        std = np.array(normalisation.std, np.float64)
        factor, offset = normalisation.scale / std, -np.array(normalisation.mean, np.float64) / std
        channels = (3, 1, 1) if planes_first else (3,)
        if (factor != 1).any():
            tensor = graph.add("Mul", tensor, graph.floats(factor.reshape(channels)))
        if (offset != 0).any():
            tensor = graph.add("Add", tensor, graph.floats(offset.reshape(channels)))
        if image.element_type != onnx.TensorProto.FLOAT:
            tensor = graph.add("Cast", tensor, to=image.element_type)
    graph.reshape(tensor, image.shape, output=feeds)


def _write_epilogue(
    graph: GraphWriter, plan: Import, *, reads: Sequence[str], types: dict[str, onnx.ValueInfoProto]
) -> None:
    tensors = [
        graph.add("Cast", name, to=onnx.TensorProto.FLOAT)
        if types[name].type.tensor_type.elem_type in FLOAT_TYPES
        else name
        for name in reads
    ]
    results = plan.head.write(graph, tensors, plan.decode)
    for role, result in zip(OUTPUT_ROLES[plan.head.task], results, strict=True):
        graph.reshape(result, role_shape(role, plan), output=role)


def _declare(graph: onnx.GraphProto, plan: Import, roles: Sequence[str]) -> None:
    """Input and outputs of the contract; every other shape is inferred anew."""
    del graph.input[:], graph.output[:], graph.value_info[:]
    shape = (1, *plan.original.image.size_hw, 3)
    graph.input.append(onnx.helper.make_tensor_value_info(INPUT_NAME, onnx.TensorProto.UINT8, shape))
    for role in roles:
        info = onnx.helper.make_tensor_value_info(role, onnx.TensorProto.FLOAT, role_shape(role, plan))
        graph.output.append(info)


def _inferred(model: onnx.ModelProto, *, where: str) -> onnx.ModelProto:
    try:
        model = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(f"{where}: with preprocessing and decoding it is no valid graph: {error}") from error
    return model


def _needed(nodes: list[onnx.NodeProto], roles: Sequence[str]) -> list[onnx.NodeProto]:
    """The nodes that the outputs depend on, in their order."""
    wanted, kept = set(roles), []
    for node in reversed(nodes):
        if wanted & set(node.output):
            kept.append(node)
            wanted |= _read_by(node)
    return kept[::-1]


def _read_by(node: onnx.NodeProto) -> set[str]:
    """Every tensor that a node, or a node inside of it, reads."""
    names = {name for name in node.input if name}
    for graph in subgraphs(node):
        names |= {output.name for output in graph.output}
        for inner in graph.node:
            names |= _read_by(inner)
    return names


def _names(graph: onnx.GraphProto) -> set[str]:
    names = {entry.name for entry in [*graph.input, *graph.output, *graph.initializer]}
    for node in graph.node:
        names |= {*node.input, *node.output}
        for inner in subgraphs(node):
            names |= _names(inner)
    return names


def _rename(graph: onnx.GraphProto, names: dict[str, str]) -> None:
    """Give tensors other names, in place, also where a branch or loop inside the graph refers to them."""
    for entry in [*graph.input, *graph.output, *graph.initializer, *graph.value_info]:
        entry.name = names.get(entry.name, entry.name)
    for node in graph.node:
        for tensors in (node.input, node.output):
            for index, name in enumerate(tensors):
                tensors[index] = names.get(name, name)
        for inner in subgraphs(node):
            _rename(inner, names)
