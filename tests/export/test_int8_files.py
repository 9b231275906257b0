"""Int8 files as they are made and used: ranges, float parts, biases, bundles."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from cvforge.export.formats import FORMATS, INT8
from cvforge.export.int8_files import int8_measurements
from cvforge.export.onnx_int8 import OnnxQuantiser, layer_name, tail_names, weighted_nodes
from cvforge.export.tflite_int8 import TFLiteQuantiser
from cvforge.export.wrap import GraphSpec, TracedGraph, trace
from cvforge_edge.backends import open_backend
from cvforge_edge.bundle import open_bundle
from cvforge_edge.selftest import run_self_test
from cvforge_edge.types import Task
from export.tiny import LABELS, SIZE_HW, export_tiny, tiny_calibration, tiny_plan

BUDGET = {"metric_budget": {"int8": 0.05}, "tensor_tolerance": {"int8": 0.5}, "max_float_layers": 2}
NETWORK_LAYERS = 3


class LeakyClassifier(nn.Module):
    """Three layers with weights, leaky rectifiers between them, and a softmax behind the last."""

    export_blocker: str | None = None

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 16, 3, 2, 1)
        self.second = nn.Conv2d(16, 128, 3, 2, 1)
        self.head = nn.Linear(128, len(LABELS))
        self.act = nn.LeakyReLU(0.1)

    def predict(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        x = images.permute(0, 3, 1, 2).float() / 127.5 - 1.0
        features = self.act(self.second(self.act(self.first(x)))).mean(dim=(2, 3))
        return {"probs": (4 * self.head(features)).softmax(1)}


class AttentiveClassifier(nn.Module):
    """Every place of a map looks at all places, in two heads, as in the attention of YOLO11 and of transformers."""

    export_blocker: str | None = None

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 16, 3, 2, 1)
        self.queries, self.keys, self.values = (nn.Conv2d(16, 16, 1) for _ in range(3))
        self.last = nn.Conv2d(16, 128, 3, 2, 1)
        self.head = nn.Linear(128, len(LABELS))

    def predict(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        x = self.first(images.permute(0, 3, 1, 2).float() / 255).relu()
        layers = (self.queries, self.keys, self.values)
        queries, keys, values = (layer(x).flatten(2).unflatten(1, (2, 8)) for layer in layers)  # (b, 2, c / 2, hw)
        weights = (4 * queries.transpose(2, 3) @ keys).softmax(3)  # (b, 2, hw, hw)
        x = x + (values @ weights.transpose(2, 3)).reshape(x.shape)
        return {"probs": (4 * self.head(self.last(x).relu().mean(dim=(2, 3)))).softmax(1)}


def leaky_graph() -> TracedGraph:
    torch.manual_seed(0)
    return trace(LeakyClassifier().eval(), GraphSpec(Task.CLASSIFICATION, SIZE_HW, len(LABELS)))


def probabilities(path: Path, name: str) -> np.ndarray:
    backend = open_backend(FORMATS[name].runtime, path, threads=1)
    return np.concatenate([backend.run(image[None])["probs"] for image in tiny_calibration(Task.CLASSIFICATION, 12)])


@pytest.mark.parametrize("task", list(Task))
def test_an_int8_bundle_keeps_its_budget_and_passes_its_self_test(task: Task, tmp_path: Path) -> None:
    plan = tiny_plan(task, precisions=(INT8,), **BUDGET)
    report = export_tiny(task, tmp_path / "b", plan=plan, calibration=tiny_calibration(task))
    assert [model.path for model in report.manifest.models] == ["model_int8.onnx"]
    assert report.manifest.provenance["int8"] == {"calibration_images": 6, "float_layers": {"model_int8.onnx": []}}
    assert run_self_test(open_bundle(tmp_path / "b")).model == "model_int8.onnx"
    measured = int8_measurements(report.int8)
    assert [trial["float_layers"] for trial in measured["model_int8.onnx"]["trials"]] == [[]]
    assert measured["model_int8.onnx"]["noise"]


def test_onnx_int8_computes_in_int8_up_to_the_last_weights_and_in_float_behind_them(tmp_path: Path) -> None:
    FORMATS["onnx"].write(leaky_graph(), {"fp32": tmp_path / "f.onnx"})
    quantiser = OnnxQuantiser(tmp_path / "f.onnx", tiny_calibration(Task.CLASSIFICATION), tmp_path)
    quantiser.write(tmp_path / "q.onnx")
    graph = onnx.load(tmp_path / "q.onnx").graph
    made_by = {output: node for node in graph.node for output in node.output}
    for node in weighted_nodes(onnx.load(tmp_path / "prepared.onnx").graph):
        quantised = next(other for other in graph.node if other.name == node.name)
        assert [made_by[name].op_type for name in quantised.input[:2]] == ["DequantizeLinear"] * 2
    softmax = next(node for node in graph.node if node.op_type == "Softmax")
    assert made_by[softmax.input[0]].op_type != "DequantizeLinear"
    assert softmax.name in tail_names(graph)
    error = np.abs(probabilities(tmp_path / "q.onnx", "onnx") - probabilities(tmp_path / "f.onnx", "onnx")).max()
    assert 0 < error < 0.05


def test_onnx_layers_stay_in_float_when_asked_and_the_same_request_gives_the_same_bytes(tmp_path: Path) -> None:
    FORMATS["onnx"].write(leaky_graph(), {"fp32": tmp_path / "f.onnx"})
    quantiser = OnnxQuantiser(tmp_path / "f.onnx", tiny_calibration(Task.CLASSIFICATION), tmp_path)
    quantiser.write(tmp_path / "a.onnx")
    noise = quantiser.noise(tmp_path / "a.onnx")
    # Which layer is the noisiest of all depends on the processor's int8 kernels: the products of some saturate.
    noisiest = next(layer.name for layer in noise if layer.kind == "Conv")
    quantiser.write(tmp_path / "b.onnx", float_layers=[noisiest])
    quantiser.write(tmp_path / "c.onnx")
    assert {layer.name for layer in noise} >= {"first", "second"}
    weights = {
        layer_name(node): node.input[1] for node in onnx.load(tmp_path / "b.onnx").graph.node if node.op_type == "Conv"
    }
    assert (
        sum(name in {w.name for w in onnx.load(tmp_path / "b.onnx").graph.initializer} for name in weights.values())
        == 1
    )
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "c.onnx").read_bytes()


@pytest.mark.slow  # the quantiser of TFLite takes seconds to load in each of its processes
def test_tflite_int8_has_leaky_rectifiers_in_int8_and_layers_of_choice_in_float(tmp_path: Path) -> None:
    from ai_edge_litert.interpreter import Interpreter
    from ai_edge_litert.tools import flatbuffer_utils

    from cvforge.export.tflite_graph import Graph

    FORMATS["tflite"].write(leaky_graph(), {"fp32": tmp_path / "f.tflite"})
    quantiser = TFLiteQuantiser(tmp_path / "f.tflite", tiny_calibration(Task.CLASSIFICATION, 12), tmp_path)
    quantiser.write(tmp_path / "q.tflite")
    quantiser.write(tmp_path / "again.tflite")
    graph = Graph(flatbuffer_utils.read_model(str(tmp_path / "q.tflite")))
    kinds = [graph.kind(number) for number in range(len(graph.subgraph.operators))]
    assert kinds.count("LEAKY_RELU") == 2
    types = {t["name"]: t["dtype"] for t in Interpreter(str(tmp_path / "q.tflite")).get_tensor_details()}
    leaky = [graph.name(number) for number, kind in enumerate(kinds) if kind == "LEAKY_RELU"]
    assert [types[name] for name in leaky] == [np.int8, np.int8]
    assert types[graph.name(kinds.index("SOFTMAX"))] == np.float32
    error = np.abs(probabilities(tmp_path / "q.tflite", "tflite") - probabilities(tmp_path / "f.tflite", "tflite"))
    assert 0 < error.max() < 0.05
    assert (tmp_path / "q.tflite").read_bytes() == (tmp_path / "again.tflite").read_bytes()
    noise = quantiser.noise(tmp_path / "q.tflite")
    assert len(noise) == NETWORK_LAYERS
    assert all(layer.sqnr_db > 15 for layer in noise)
    quantiser.write(tmp_path / "mixed.tflite", float_layers=[noise[0].name])
    mixed = {t["name"]: t["dtype"] for t in Interpreter(str(tmp_path / "mixed.tflite")).get_tensor_details()}
    assert mixed[noise[0].name] == np.float32


@pytest.mark.slow
def test_tflite_int8_multiplies_features_and_takes_a_softmax_in_float_and_layers_in_int8(tmp_path: Path) -> None:
    from ai_edge_litert.interpreter import Interpreter
    from ai_edge_litert.tools import flatbuffer_utils

    from cvforge.export.tflite_graph import Graph

    torch.manual_seed(0)
    graph = trace(AttentiveClassifier().eval(), GraphSpec(Task.CLASSIFICATION, SIZE_HW, len(LABELS)))
    FORMATS["tflite"].write(graph, {"fp32": tmp_path / "f.tflite"})
    TFLiteQuantiser(tmp_path / "f.tflite", tiny_calibration(Task.CLASSIFICATION, 12), tmp_path).write(
        tmp_path / "q.tflite"
    )
    made = Graph(flatbuffer_utils.read_model(str(tmp_path / "q.tflite")))
    types = {t["name"]: t["dtype"] for t in Interpreter(str(tmp_path / "q.tflite")).get_tensor_details()}
    found = [(made.kind(number), types[made.name(number)]) for number in range(len(made.subgraph.operators))]
    assert found.count(("BATCH_MATMUL", np.float32)) == found.count(("SOFTMAX", np.float32)) == 2
    assert [dtype for kind, dtype in found if kind == "CONV_2D"] == [np.int8] * 5
    assert found[0] == ("DEQUANTIZE", np.float32)
    error = np.abs(probabilities(tmp_path / "q.tflite", "tflite") - probabilities(tmp_path / "f.tflite", "tflite"))
    assert 0 < error.max() < 0.05


@pytest.mark.slow
def test_a_bundle_holds_float_and_int8_files_of_both_formats(tmp_path: Path) -> None:
    budgets = {name: {**tiny_plan(Task.DETECTION).__dict__[name], **BUDGET[name]} for name in list(BUDGET)[:2]}
    plan = tiny_plan(Task.DETECTION, formats=("onnx", "tflite"), precisions=("fp32", INT8), **budgets)
    report = export_tiny(Task.DETECTION, tmp_path / "b", plan=plan, calibration=tiny_calibration(Task.DETECTION))
    paths = [model.path for model in report.manifest.models]
    assert paths == ["model_fp32.tflite", "model_int8.tflite", "model_fp32.onnx", "model_int8.onnx"]
    for backend in ("litert", "litert-builtin", "onnxruntime"):
        assert run_self_test(open_bundle(tmp_path / "b"), backend=backend, precision=INT8).backend == backend
