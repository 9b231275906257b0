"""Types and shapes in an ONNX file: complete, so that a reader need not infer them, and with one name for the free axis."""

from __future__ import annotations

import re

import onnx

from cvforge.errors import ExportError


def store_shapes(model: onnx.ModelProto) -> None:
    """Note the inferred type and shape of every tensor that a node of the main graph writes, in the nodes' order, in place.

    Weights, inputs and outputs state theirs already; entries of tensors that are no longer there go.

    Raises:
        onnx.shape_inference.InferenceError: the graph contradicts itself.
    """
    inferred = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True).graph
    known = {entry.name: entry for entry in inferred.value_info}
    outputs = {entry.name for entry in inferred.output}
    written = [name for node in model.graph.node for name in node.output if name not in outputs]
    entries = [known[name] for name in written if name in known]
    del model.graph.value_info[:]
    model.graph.value_info.extend(entries)


def name_free_axis(model: onnx.ModelProto, name: str) -> None:
    """Call the free first axis of the input `name` wherever the exporter's own symbol for it stands, in place.

    A graph without free axes is left as it is.

    Raises:
        ExportError: another axis is free, or an output does not have the free one first.
    """
    dims = model.graph.input[0].type.tensor_type.shape.dim
    symbols = [dim.dim_param for dim in dims]
    if not any(symbols):
        return
    symbol = re.compile(rf"\b{re.escape(symbols[0])}\b")
    for entry in [*model.graph.input, *model.graph.output, *model.graph.value_info]:
        for dim in entry.type.tensor_type.shape.dim:
            if dim.dim_param:
                dim.dim_param = symbol.sub(name, dim.dim_param)
    shapes = {entry.name: shape_of(entry) for entry in [*model.graph.input, *model.graph.output]}
    wrong = [f"{tensor} {shape}" for tensor, shape in shapes.items() if not _is_free_first_only(shape, name)]
    if wrong:
        raise ExportError(f"onnx: expected a free first axis and no other, found {', '.join(wrong)}")


def shape_of(entry: onnx.ValueInfoProto) -> tuple[int | str, ...]:
    """Lengths of the axes of a tensor; the name of a free one, empty where it has none."""
    return tuple(
        dim.dim_value if dim.HasField("dim_value") else dim.dim_param for dim in entry.type.tensor_type.shape.dim
    )


def _is_free_first_only(shape: tuple[int | str, ...], name: str) -> bool:
    return shape[:1] == (name,) and all(isinstance(length, int) for length in shape[1:])
