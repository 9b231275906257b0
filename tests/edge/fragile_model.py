"""A bundle whose model computes for dark pictures, and fails in ONNX Runtime itself for bright ones."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from cvforge_edge.bundle import describe_model
from cvforge_edge.manifest import write_manifest
from edge.conftest import tiny_manifest

DARK, BRIGHT = np.zeros((32, 48, 3), np.uint8), np.full((32, 48, 3), 255, np.uint8)
ROWS = 128


def write_fragile_model(path: Path) -> None:
    """A classifier that looks its answer up by the brightness of the middle pixel, in a table that is too short."""
    table = np.tile(np.array([1, 0, 0], np.float32), (ROWS, 1))
    middle = np.array([0, 16, 24, 0], np.int64)
    nodes = [
        helper.make_node("GatherND", ["image", "middle"], ["pixel"]),
        helper.make_node("Cast", ["pixel"], ["row"], to=onnx.TensorProto.INT64),
        helper.make_node("Gather", ["table", "row"], ["answer"]),
        helper.make_node("Unsqueeze", ["answer", "axis"], ["probs"]),
    ]
    constants = {"table": table, "middle": middle, "axis": np.array([0], np.int64)}
    graph = helper.make_graph(
        nodes,
        "fragile",
        [helper.make_tensor_value_info("image", onnx.TensorProto.UINT8, (1, 32, 48, 3))],
        [helper.make_tensor_value_info("probs", onnx.TensorProto.FLOAT, (1, 3))],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, path)


def write_fragile_bundle(folder: Path) -> Path:
    """The bundle of that model, without golden vectors."""
    folder.mkdir()
    write_fragile_model(folder / "model_fp32.onnx")
    file = describe_model(folder, "model_fp32.onnx", format="onnx", precision="fp32")
    write_manifest(dataclasses.replace(tiny_manifest("classifier"), files=(file,)), folder)
    return folder
