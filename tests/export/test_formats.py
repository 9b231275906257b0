"""Tracing and the files that come of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from cvforge.errors import ExportError
from cvforge.export.formats import FORMATS
from cvforge.export.onnx import store_weights_in_half, write_onnx
from cvforge.export.tflite import write_tflite
from cvforge.export.torch_backend import TorchBackend
from cvforge.export.wrap import GraphSpec, trace
from cvforge_edge import manifest
from cvforge_edge.backends import BACKENDS, open_backend
from cvforge_edge.types import Task
from export.tiny import LABELS, SIZE_HW, TinyDetector, tiny_net

SPEC = GraphSpec(Task.DETECTION, SIZE_HW, len(LABELS))


def random_image() -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (1, *SIZE_HW, 3)).astype(np.uint8)


def test_every_format_of_a_manifest_can_be_written_and_read() -> None:
    assert tuple(FORMATS) == manifest.FORMATS
    assert all(manifest.FORMATS[i] == BACKENDS[entry.runtime].format for i, entry in enumerate(FORMATS.values()))


class OneTensor(TinyDetector):
    def predict(self, images: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        return super().predict(images)["boxes"]


class TransposedBoxes(TinyDetector):
    def predict(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        outputs = super().predict(images)
        return {"boxes": outputs["boxes"].transpose(1, 2)}


class BranchesOnValues(TinyDetector):
    def predict(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        outputs = super().predict(images)
        if outputs["scores"].max() > 0.5:
            outputs["boxes"] = outputs["boxes"] * 2
        return outputs


class UsesFft(TinyDetector):
    """An operator that neither ONNX nor TFLite has in this form."""

    def predict(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        outputs = super().predict(images)
        return {**outputs, "scores": torch.linalg.eigvalsh(torch.ones(3, 3)) * 0 + outputs["scores"]}


@pytest.mark.parametrize(
    ("net", "words"),
    [
        (OneTensor, "OneTensor.predict: found Tensor, expected a dict with boxes, scores"),
        (TransposedBoxes, r"boxes has shape \(1, 4, 24\), expected 3 axes.*output 'scores' is missing \(found boxes\)"),
        (BranchesOnValues, "BranchesOnValues cannot be traced.*no Python branches on tensor values"),
    ],
)
def test_a_net_that_breaks_the_contract_is_refused_with_the_reason(net: type[nn.Module], words: str) -> None:
    with pytest.raises(ExportError, match=words):
        trace(net(), SPEC)


def test_tracing_leaves_the_net_in_training_mode_and_its_weights_alone() -> None:
    net = tiny_net(Task.DETECTION)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    trace(net, SPEC)
    assert net.training
    for name, tensor in net.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_the_onnx_file_has_the_names_and_types_of_the_contract_and_no_traces(tmp_path: Path) -> None:
    write_onnx(trace(tiny_net(Task.DETECTION), SPEC), {"fp32": tmp_path / "a.onnx", "fp16": tmp_path / "b.onnx"})
    for name in ("a.onnx", "b.onnx"):
        model = onnx.load(tmp_path / name)
        (image,) = model.graph.input
        assert image.name == "image"
        assert image.type.tensor_type.elem_type == onnx.TensorProto.UINT8
        assert [d.dim_value for d in image.type.tensor_type.shape.dim] == [1, *SIZE_HW, 3]
        assert [output.name for output in model.graph.output] == ["boxes", "scores"]
        assert all(o.type.tensor_type.elem_type == onnx.TensorProto.FLOAT for o in model.graph.output)
        assert not [node for node in model.graph.node if node.metadata_props or node.doc_string]
        assert {opset.domain: opset.version for opset in model.opset_import}[""] == 18


def test_half_precision_stores_no_large_float32_weight(tmp_path: Path) -> None:
    write_onnx(trace(tiny_net(Task.DETECTION), SPEC), {"fp16": tmp_path / "b.onnx"})
    weights = onnx.load(tmp_path / "b.onnx").graph.initializer
    large = [w for w in weights if w.data_type == onnx.TensorProto.FLOAT and np.prod(w.dims, dtype=int) >= 64]
    assert large == []
    assert any(w.data_type == onnx.TensorProto.FLOAT16 for w in weights)


def test_a_weight_beyond_the_range_of_half_precision_stays_single() -> None:
    huge = onnx.numpy_helper.from_array(np.full(100, 1e6, np.float32), "huge")
    fine = onnx.numpy_helper.from_array(np.full(100, 1.5, np.float32), "fine")
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Add", ["huge", "fine"], ["y"])],
        "g",
        [],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [100])],
        [huge, fine],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)])
    store_weights_in_half(model)
    onnx.checker.check_model(model, full_check=True)
    assert [(w.name, w.data_type) for w in model.graph.initializer] == [
        ("huge", onnx.TensorProto.FLOAT),
        ("fine_fp16", onnx.TensorProto.FLOAT16),
    ]


def test_the_same_weights_give_the_same_onnx_bytes(tmp_path: Path) -> None:
    for name in ("a.onnx", "b.onnx"):
        write_onnx(trace(tiny_net(Task.DETECTION), SPEC), {"fp32": tmp_path / name})
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


def test_onnx_gives_what_pytorch_gives(tmp_path: Path) -> None:
    net = tiny_net(Task.DETECTION)
    write_onnx(trace(net, SPEC), {"fp32": tmp_path / "a.onnx"})
    expected = TorchBackend(net).run(random_image())
    found = open_backend("onnxruntime", tmp_path / "a.onnx").run(random_image())
    for name in ("boxes", "scores"):
        np.testing.assert_allclose(found[name], expected[name], atol=1e-4)


def test_an_operator_without_onnx_form_is_named(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="onnx: the graph cannot be converted"):
        write_onnx(trace(UsesFft(), SPEC), {"fp32": tmp_path / "a.onnx"})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_an_operator_without_tflite_form_shows_the_converters_last_words(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"(?s)tflite: the process ended with code 1; its last lines:\n  \|.*eigh"):
        write_tflite(trace(UsesFft(), SPEC), {"fp32": tmp_path / "a.tflite"})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_same_weights_give_the_same_tflite_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        paths = {"fp32": tmp_path / f"{name}32.tflite", "fp16": tmp_path / f"{name}16.tflite"}
        write_tflite(trace(tiny_net(Task.DETECTION), SPEC), paths)
    for precision in ("32", "16"):
        assert (tmp_path / f"a{precision}.tflite").read_bytes() == (tmp_path / f"b{precision}.tflite").read_bytes()


@pytest.mark.parametrize("write", [write_onnx, write_tflite])
def test_an_unknown_precision_is_refused(write: object, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="found precision int4, accepted fp32, fp16"):
        write(trace(tiny_net(Task.DETECTION), SPEC), {"int4": tmp_path / "x"})  # type: ignore[operator]


def test_the_torch_backend_evaluates_a_copy_in_evaluation_mode() -> None:
    net = tiny_net(Task.CLASSIFICATION)
    backend = TorchBackend(net)
    first = backend.run(random_image())["probs"]
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.zero_()
    np.testing.assert_array_equal(backend.run(random_image())["probs"], first)
    assert net.training
    assert first.dtype == np.float32
    assert first.shape == (1, len(LABELS))
