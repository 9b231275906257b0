"""A traced graph as an ONNX file, with weights in single or half precision."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import torch

from cvforge.errors import ExportError
from cvforge.export.onnx_shapes import name_free_axis, store_shapes
from cvforge.export.wrap import BATCH_AXIS, INPUT_NAME, TracedGraph

OPSET = 18
PRODUCER = "cvforge"
_MIN_HALF_ELEMENTS = 64  # below this, a cast node costs more than half precision saves
_HALF_MAX = float(np.finfo(np.float16).max)


def write_onnx(graph: TracedGraph, paths: Mapping[str, Path]) -> None:
    """Write ONNX files of one graph that `onnx.checker` accepts; the same weights give the same bytes.

    Args:
        graph: from `cvforge.export.wrap.trace`.
        paths: the file to write for each precision: `fp32`, or `fp16`: weights are stored in half precision and widened
            when the file is loaded, so arithmetic, input and outputs stay as they are. TFLite's fp16 means the same.

    Raises:
        ExportError: an operator has no ONNX form, or the result is not a valid model.
    """
    write_onnx_model(_converted(graph), paths)


def write_onnx_model(single: onnx.ModelProto, paths: Mapping[str, Path]) -> None:
    """Write a model that is ONNX already; see `write_onnx`.

    Raises:
        ExportError: it is not a valid model.
    """
    unknown = set(paths) - {"fp32", "fp16"}
    if unknown:
        raise ExportError(f"onnx: found precision {', '.join(sorted(unknown))}, accepted fp32, fp16")
    for precision, path in paths.items():
        model = onnx.ModelProto()
        model.CopyFrom(single)
        if precision == "fp16":
            store_weights_in_half(model)
        path.write_bytes(finish_onnx(model, where=path.name))


def finish_onnx(model: onnx.ModelProto, *, where: str) -> bytes:
    """The bytes of a graph that `onnx.checker` accepts, with the type and shape of every tensor and without traces of the
    machine that made it.

    Raises:
        ExportError: the graph is not valid; the message begins with `where`.
    """
    _drop_traces(model)
    try:
        store_shapes(model)
        onnx.checker.check_model(model, full_check=True)  # includes strict shape inference
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(f"{where}: the converted graph is not valid ONNX: {error}") from error
    return model.SerializeToString(deterministic=True)


def store_weights_in_half(model: onnx.ModelProto) -> None:
    """Replace every large float32 weight by a float16 one and a cast back, in place.

    Weights outside the range of half precision, which would become infinite, stay float32.
    """
    casts = []
    for weight in model.graph.initializer:
        if weight.data_type != onnx.TensorProto.FLOAT:
            continue
        values = onnx.numpy_helper.to_array(weight)
        if values.size < _MIN_HALF_ELEMENTS or not np.all(np.abs(values) <= _HALF_MAX):
            continue
        wide_name, half_name = weight.name, f"{weight.name}_fp16"
        weight.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float16), half_name))
        casts.append(onnx.helper.make_node("Cast", [half_name], [wide_name], to=onnx.TensorProto.FLOAT))
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend(casts + nodes)


def subgraphs(node: onnx.NodeProto) -> list[onnx.GraphProto]:
    """The graphs inside a node: branches of an If, the body of a Loop."""
    found = [attribute.g for attribute in node.attribute if attribute.HasField("g")]
    return found + [graph for attribute in node.attribute for graph in attribute.graphs]


def _converted(graph: TracedGraph) -> onnx.ModelProto:
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)  # it reports optional optimisations that it skipped
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of its own deprecations while converting
            converted = torch.onnx.export(
                graph.program,
                dynamo=True,
                external_data=False,
                opset_version=OPSET,
                optimize=True,  # folds constants and normalisation, drops what nobody reads
                input_names=[INPUT_NAME],
                output_names=list(graph.spec.roles),
                verbose=False,
            )
    except Exception as error:  # the exporter raises many types; all mean the same to the user
        raise ExportError(f"onnx: the graph cannot be converted: {type(error).__name__}: {error}") from error
    finally:
        logger.setLevel(level)
    if converted is None:
        raise ExportError("onnx: torch.onnx.export returned nothing")
    model: onnx.ModelProto = converted.model_proto
    name_free_axis(model, BATCH_AXIS)
    return model


def _drop_traces(model: onnx.ModelProto) -> None:
    """Remove source lines, paths and traces of the exporting machine, which exporters write into every node."""
    model.producer_name, model.producer_version, model.doc_string = PRODUCER, "", ""
    del model.metadata_props[:]
    model.graph.name = PRODUCER
    _drop_texts(model.graph)
    for function in model.functions:
        function.doc_string = ""
        del function.metadata_props[:]
        for node in function.node:
            _drop_node_texts(node)


def _drop_texts(graph: onnx.GraphProto) -> None:
    parts = (graph.initializer, graph.input, graph.output, graph.value_info)
    for part in [graph, *(item for items in parts for item in items)]:
        part.doc_string = ""
        del part.metadata_props[:]
    for node in graph.node:
        _drop_node_texts(node)


def _drop_node_texts(node: onnx.NodeProto) -> None:
    node.doc_string = ""
    del node.metadata_props[:]
    for graph in subgraphs(node):
        _drop_texts(graph)
