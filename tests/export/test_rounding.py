"""Rounding of weights for the least change of a layer's output, and the entry of a network that stays in float."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from cvforge.export.formats import FORMATS
from cvforge.export.int8 import entry_layers
from cvforge.export.onnx_int8 import OnnxQuantiser, layer_name, weighted_nodes
from cvforge.export.onnx_rounding import Layer, OnnxRounding
from cvforge.export.rounding import InputMoments, Window, compensated, grouped_inputs, output_error, steps_of
from cvforge.export.tflite_int8 import TFLiteQuantiser
from cvforge.export.wrap import GraphSpec, TracedGraph, trace
from cvforge_edge.backends import open_backend
from cvforge_edge.types import Task
from export.tiny import LABELS, SIZE_HW

IMAGES = 48


def nearest(weights: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(weights / steps_of(weights)), -127, 127).astype(np.int8)


def moments(inputs: np.ndarray) -> np.ndarray:
    taken = InputMoments()
    taken.add(inputs.astype(np.float32))
    return taken.value()


def smooth_images(count: int, seed: int) -> list[np.ndarray]:
    """Images whose neighbouring pixels are alike, as those of cameras are."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (count, SIZE_HW[0] // 8, SIZE_HW[1] // 8, 3)).astype(np.float64)
    fine = coarse.repeat(8, axis=1).repeat(8, axis=2) + rng.normal(0, 8, (count, *SIZE_HW, 3))
    return list(fine.clip(0, 255).astype(np.uint8))


class DeepClassifier(nn.Module):
    """Twelve layers: dense, depthwise, grouped and dilated ones, and a linear one behind them."""

    export_blocker: str | None = None

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3, 32, 3, 2, 1), nn.ReLU6()]
        for block in range(5):
            layers += [nn.Conv2d(32, 32, (3, 5), 1, (1, 2), groups=32), nn.ReLU6()]
            layers += [
                nn.Conv2d(32, 32, 3, 1 + (block == 2), 1 + (block > 2), 1 + (block > 2), groups=1 + (block == 1))
            ]
            layers += [nn.ReLU6()]
        self.layers = nn.Sequential(*layers)
        self.head = nn.Linear(32, len(LABELS))
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                nn.init.kaiming_normal_(module.weight)
        self.head.weight.data *= 3

    def predict(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        x = images.permute(0, 3, 1, 2).float() / 127.5 - 1.0
        return {"probs": self.head(self.layers(x).mean(dim=(2, 3))).softmax(1)}


DEEP_LAYERS = 11  # the last one is too small to be quantised


def deep_graph() -> TracedGraph:
    torch.manual_seed(0)
    return trace(DeepClassifier().eval(), GraphSpec(Task.CLASSIFICATION, SIZE_HW, len(LABELS)))


def error_of(path: Path, source: Path, name: str) -> float:
    """Root mean square difference of the outputs on images that nothing was measured on."""
    found, expected = (open_backend(FORMATS[name].runtime, file, threads=1) for file in (path, source))
    images = smooth_images(24, seed=1)
    return float(
        np.sqrt(np.mean([(found.run(x[None])["probs"] - expected.run(x[None])["probs"]) ** 2 for x in images]))
    )


def test_inputs_that_have_nothing_in_common_leave_every_weight_at_its_nearest_step() -> None:
    weights = np.random.default_rng(0).normal(size=(3, 5, 9))
    assert (compensated(weights, np.broadcast_to(np.eye(9), (3, 9, 9))) == nearest(weights)).all()


@pytest.mark.parametrize("size", [9, 300])
def test_inputs_that_are_alike_change_the_output_less_than_nearest_steps_also_on_inputs_not_seen(size: int) -> None:
    rng = np.random.default_rng(size)
    weights = rng.normal(size=(2, 16, size))
    mixing = rng.normal(size=(2, size // 3, size))
    seen, unseen = (moments(rng.normal(size=(2, 4 * size, size // 3)) @ mixing) for _ in range(2))
    rounded = compensated(weights, seen)
    assert output_error(weights, rounded, unseen) < 0.5 * output_error(weights, nearest(weights), unseen)
    assert np.abs(rounded.astype(int)).max() == 127


def test_weights_without_any_input_are_rounded_to_their_nearest_steps() -> None:
    weights = np.random.default_rng(0).normal(size=(1, 4, 8))
    assert (compensated(weights, np.zeros((1, 8, 8))) == nearest(weights)).all()


def test_an_output_without_weights_stays_zero() -> None:
    weights = np.stack([np.zeros((1, 6)), np.ones((1, 6))], axis=1)[0][None]
    assert (compensated(weights, np.eye(6)[None])[0, 0] == 0).all()


@pytest.mark.parametrize(
    ("kernel", "stride", "dilation", "padding", "groups"),
    [((3, 3), (1, 1), (1, 1), (1, 1), 1), ((3, 5), (2, 1), (1, 2), (0, 4), 2), ((1, 1), (2, 2), (1, 1), (0, 0), 6)],
)
def test_a_window_sees_what_a_convolution_of_torch_sees(
    kernel: tuple[int, int],
    stride: tuple[int, int],
    dilation: tuple[int, int],
    padding: tuple[int, int],
    groups: int,
) -> None:
    image = torch.randn(1, 6, 9, 10, generator=torch.Generator().manual_seed(0))
    convolution = nn.Conv2d(6, 12, kernel, stride, padding, dilation, groups, bias=False)
    with torch.no_grad():
        output = convolution(image)
    window = Window(kernel, stride, dilation, padding, (output.shape[2], output.shape[3]))
    patches = window.patches(image[0].permute(1, 2, 0).numpy(), np.random.default_rng(0))
    places = np.random.default_rng(0).permutation(output.shape[2] * output.shape[3])[: len(patches)]
    layer = Layer("Conv", "x", "w", {"group": groups})
    rows = layer.rows(convolution.weight.detach().numpy())
    found = np.einsum("gnk,gok->ngo", grouped_inputs(patches, groups), rows).reshape(len(patches), -1)
    assert found == pytest.approx(output[0].flatten(1).T.numpy()[places], abs=1e-5)


def test_places_outside_of_a_large_image_are_not_looked_at_more_often_than_asked() -> None:
    window = Window((3, 3), (1, 1), (1, 1), (1, 1), (40, 40))
    assert window.patches(np.ones((40, 40, 2), np.float32), np.random.default_rng(0)).shape == (64, 3, 3, 2)


@pytest.mark.parametrize(
    "layer",
    [
        Layer("Conv", "x", "w", {"group": 2}),
        Layer("Gemm", "x", "w", {"transB": 1}),
        Layer("Gemm", "x", "w"),
        Layer("MatMul", "x", "w"),
    ],
)
def test_weights_of_onnx_come_back_in_their_own_shape_with_outputs_where_they_were(layer: Layer) -> None:
    shape = (4, 3, 2, 5) if layer.kind == "Conv" else (4, 6)
    values = np.random.default_rng(0).integers(-127, 128, shape).astype(np.int8)
    rows = layer.rows(values)
    assert (layer.values(rows, shape) == values).all()
    outputs = np.moveaxis(values, layer.output_axis, 0).reshape(shape[layer.output_axis], -1)
    assert np.sort(rows.reshape(len(outputs), -1)).tolist() == np.sort(outputs).tolist()


@pytest.mark.parametrize("padding", ["SAME_UPPER", "SAME_LOWER", "VALID"])
def test_the_automatic_paddings_of_onnx_are_those_of_its_runtime(padding: str) -> None:
    import onnxruntime

    weights = np.random.default_rng(0).normal(size=(4, 3, 3, 2)).astype(np.float32)
    node = onnx.helper.make_node("Conv", ["x", "w"], ["y"], strides=[2, 1], kernel_shape=[3, 2], auto_pad=padding)
    values = [
        onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, s) for n, s in (("x", (1, 3, 8, 7)), ("y", None))
    ]
    graph = onnx.helper.make_graph([node], "g", values[:1], values[1:], [onnx.numpy_helper.from_array(weights, "w")])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=9)
    image = np.random.default_rng(1).normal(size=(1, 3, 8, 7)).astype(np.float32)
    expected = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": image})[0]
    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    layer = Layer("Conv", "x", "w", attributes)
    inputs = layer.inputs(image, (3, 2), np.random.default_rng(0))
    found = np.einsum("gnk,gok->no", inputs, layer.rows(weights))
    places = np.random.default_rng(0).permutation(expected.shape[2] * expected.shape[3])
    assert found == pytest.approx(expected[0].reshape(4, -1).T[places], abs=1e-5)


def test_an_onnx_file_with_rounded_weights_is_nearer_to_its_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    FORMATS["onnx"].write(deep_graph(), {"fp32": tmp_path / "f.onnx"})
    quantiser = OnnxQuantiser(tmp_path / "f.onnx", smooth_images(IMAGES, seed=0), tmp_path)
    replaced: list[int] = []
    apply = OnnxRounding.apply
    monkeypatch.setattr(OnnxRounding, "apply", lambda self, graph: replaced.append(apply(self, graph)))
    quantiser.write(tmp_path / "rounded.onnx")
    monkeypatch.setattr(OnnxRounding, "apply", lambda self, graph: 0)
    quantiser.write(tmp_path / "nearest.onnx")
    assert replaced == [DEEP_LAYERS - entry_layers(DEEP_LAYERS)]
    errors = [error_of(tmp_path / f"{name}.onnx", tmp_path / "f.onnx", "onnx") for name in ("rounded", "nearest")]
    assert errors[0] < 0.9 * errors[1]


def test_the_entry_of_an_onnx_file_stays_in_float_and_is_no_candidate_for_float(tmp_path: Path) -> None:
    FORMATS["onnx"].write(deep_graph(), {"fp32": tmp_path / "f.onnx"})
    quantiser = OnnxQuantiser(tmp_path / "f.onnx", smooth_images(4, seed=0), tmp_path)
    quantiser.write(tmp_path / "q.onnx")
    graph = onnx.load(tmp_path / "q.onnx").graph
    in_float = [layer_name(node) for node in weighted_nodes(graph)]
    assert in_float == ["layers.0"]
    assert len(quantiser.noise(tmp_path / "q.onnx")) == DEEP_LAYERS - 1
    assert "layers.0" not in {layer.name for layer in quantiser.noise(tmp_path / "q.onnx")}


@pytest.mark.slow  # the quantiser of TFLite takes seconds to load in each of its processes
def test_a_tflite_file_with_rounded_weights_is_nearer_to_its_source_and_its_entry_in_float(tmp_path: Path) -> None:
    from ai_edge_litert.interpreter import Interpreter
    from ai_edge_litert.tools import flatbuffer_utils

    from cvforge.export.tflite_graph import Graph

    source = tmp_path / "f.tflite"
    FORMATS["tflite"].write(deep_graph(), {"fp32": source})
    quantiser = TFLiteQuantiser(source, smooth_images(IMAGES, seed=0), tmp_path)
    quantiser.write(tmp_path / "rounded.tflite")
    rounded = dict(np.load(tmp_path / "rounded.npz"))
    np.savez(tmp_path / "rounded.npz")
    quantiser.write(tmp_path / "nearest.tflite")
    assert len(rounded) == DEEP_LAYERS
    errors = [error_of(tmp_path / f"{name}.tflite", source, "tflite") for name in ("rounded", "nearest")]
    assert errors[0] < 0.9 * errors[1]
    graph = Graph(flatbuffer_utils.read_model(str(tmp_path / "f.tflite")))
    names = [graph.name(number) for number in graph.weighted()]
    types = {t["name"]: t["dtype"] for t in Interpreter(str(tmp_path / "rounded.tflite")).get_tensor_details()}
    assert [types[name] for name in names[:2]] == [np.float32, np.int8]
    made = Graph(flatbuffer_utils.read_model(str(tmp_path / "rounded.tflite")))
    entry = next(number for number in range(len(made.subgraph.operators)) if made.name(number) == names[0])
    kinds = {made.kind(number) for number in made.with_sources([entry])}
    assert {"CAST", "CONV_2D"} <= kinds  # from the image on
    assert not {"QUANTIZE", "DEQUANTIZE"} & kinds
    assert {layer.name for layer in quantiser.noise(tmp_path / "rounded.tflite")} == set(names[1:])
