"""Bundles for servers: the tiny classifier in the form for any number of images, and reference statistics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from cvforge_edge.bundle import describe_model
from cvforge_edge.manifest import read_manifest, write_manifest
from cvforge_edge.predictor import Predictor
from cvforge_edge.stats.statistics import Statistics
from edge.conftest import tiny_manifest


def build_batch_bundle(folder: Path) -> Path:
    """Write a bundle whose classifier says softmax of 4 * mean red, 4 * mean blue and 1, each mean in 0 to 1."""
    folder.mkdir()
    files = []
    for axis, path in ((1, "model_fp32.onnx"), ("batch", "model_fp32_batch.onnx")):
        onnx.save(_classifier(axis), folder / path)
        files.append(describe_model(folder, path, format="onnx", precision="fp32", batch=axis != 1))
    write_manifest(replace(tiny_manifest("classifier"), files=tuple(files)), folder)
    return folder


def _classifier(axis: int | str) -> onnx.ModelProto:
    weights = np.array([[4, 0, 0], [0, 0, 0], [0, 4, 0]], np.float32) / 255
    constants = {"axes": np.array([1, 2]), "weights": weights, "bias": np.array([0, 0, 1], np.float32)}
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["float", "axes"], ["means"], keepdims=0),
        helper.make_node("MatMul", ["means", "weights"], ["products"]),
        helper.make_node("Add", ["products", "bias"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probs"]),
    ]
    graph = helper.make_graph(
        nodes,
        "classifier",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, [axis, 32, 48, 3])],
        [helper.make_tensor_value_info("probs", TensorProto.FLOAT, [axis, 3])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def add_reference(folder: Path, images_bgr: Sequence[np.ndarray]) -> Path:
    """Give a bundle the reference statistics of these pictures and what its model says about them."""
    manifest = read_manifest(folder)
    reference = Statistics(manifest.task, manifest.labels)
    with Predictor.from_bundle(folder, backend="onnxruntime") as predictor:
        for image in images_bgr:
            reference.add(image, predictor.predict(image))
    write_manifest(replace(manifest, reference_statistics=reference.to_value()), folder)
    return folder
