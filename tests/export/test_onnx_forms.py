"""What an ONNX file holds beside the right numbers: nothing superfluous, every shape, no trace of a machine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir.passes.common as passes
import onnx_ir.serde
import pytest
import torch
from torch import nn

from conftest import REPOSITORY
from cvforge.errors import ExportError
from cvforge.export.onnx import write_onnx
from cvforge.export.onnx_int8 import OnnxQuantiser
from cvforge.export.onnx_shapes import name_free_axis, shape_of
from cvforge.export.wrap import GraphSpec, trace
from cvforge_edge.backends import open_backend
from cvforge_edge.types import Task
from export.tiny import LABELS, SIZE_HW, tiny_calibration, tiny_net

CLEANERS = (
    passes.IdentityEliminationPass,
    passes.CommonSubexpressionEliminationPass,
    passes.DeduplicateInitializersPass,
    passes.RemoveUnusedNodesPass,
)


class Pooled(nn.Module):
    """Says what the mean of each part of the picture is."""

    export_blocker: str | None = None

    def __init__(self, size: int | tuple[int, int]) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(size)

    def predict(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"logits": self.pool(images.permute(0, 3, 1, 2).float()).permute(0, 2, 3, 1)}


class Wasteful(nn.Module):
    """Computes things twice, for nobody, and without effect."""

    export_blocker: str | None = None

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, len(LABELS), 3, 2, 1)
        self.normalise = nn.BatchNorm2d(len(LABELS))
        self.unused = nn.Conv2d(3, 64, 3)
        self.drop = nn.Dropout(0.5)

    def predict(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        self.unused(images.permute(0, 3, 1, 2).float())
        first, second = (images.permute(0, 3, 1, 2).float() * (torch.ones(1) * 2 / 255) for _ in range(2))
        features = self.drop(self.normalise(self.convolution(first)))
        return {"logits": (features + second.mean(dim=(2, 3), keepdim=True)).permute(0, 2, 3, 1)}


def seg_spec() -> GraphSpec:
    return GraphSpec(Task.SEGMENTATION, SIZE_HW, len(LABELS))


def operators(path: Path) -> list[str]:
    return [node.op_type for node in onnx.load(path).graph.node]


def test_dead_code_double_work_and_normalisation_are_gone_from_the_file(tmp_path: Path) -> None:
    write_onnx(trace(Wasteful(), seg_spec()), {"fp32": tmp_path / "a.onnx"})
    graph = onnx.load(tmp_path / "a.onnx").graph
    assert operators(tmp_path / "a.onnx").count("Conv") == 1
    assert operators(tmp_path / "a.onnx").count("Cast") == 1
    assert operators(tmp_path / "a.onnx").count("Mul") == 1
    assert {"BatchNormalization", "Dropout", "Identity", "Constant"}.isdisjoint(operators(tmp_path / "a.onnx"))
    read = {name for node in graph.node for name in node.input}
    assert {weight.name for weight in graph.initializer} <= read
    assert sum(np.prod(weight.dims, dtype=int) for weight in graph.initializer) < 64 * 27


@pytest.mark.parametrize("task", list(Task))
def test_a_simplifier_that_is_not_ours_finds_nothing_left_to_do(task: Task, tmp_path: Path) -> None:
    paths = {"fp32": tmp_path / "a.onnx", "fp16": tmp_path / "b.onnx"}
    write_onnx(trace(tiny_net(task), GraphSpec(task, SIZE_HW, len(LABELS))), paths)
    for path in paths.values():
        model = onnx_ir.serde.deserialize_model(onnx.load(path))
        assert [cleaner.__name__ for cleaner in CLEANERS if cleaner()(model).modified] == []


def test_every_tensor_of_a_file_has_its_shape_in_every_precision(tmp_path: Path) -> None:
    paths = {"fp32": tmp_path / "a.onnx", "fp16": tmp_path / "b.onnx"}
    write_onnx(trace(tiny_net(Task.DETECTION), GraphSpec(Task.DETECTION, SIZE_HW, len(LABELS))), paths)
    OnnxQuantiser(paths["fp32"], tiny_calibration(Task.DETECTION), tmp_path).write(tmp_path / "c.onnx")
    for path in (*paths.values(), tmp_path / "c.onnx"):
        graph = onnx.load(path).graph
        outputs = {entry.name for entry in graph.output}
        written = [name for node in graph.node for name in node.output if name not in outputs]
        assert [entry.name for entry in graph.value_info] == written
        lengths = [length for entry in graph.value_info for length in shape_of(entry)]
        assert lengths
        assert all(isinstance(length, int) and length > 0 for length in lengths)


def test_a_file_holds_no_path_and_no_source_line(tmp_path: Path) -> None:
    write_onnx(
        trace(tiny_net(Task.DETECTION), GraphSpec(Task.DETECTION, SIZE_HW, len(LABELS))), {"fp32": tmp_path / "a"}
    )
    data = (tmp_path / "a").read_bytes()
    for trace_of_machine in (b".py", b"site-packages", str(REPOSITORY).encode(), str(tmp_path).encode()):
        assert trace_of_machine not in data


def test_a_pooled_map_is_one_operator_and_other_sizes_mean_what_they_mean_in_pytorch(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (1, *SIZE_HW, 3)).astype(np.uint8)
    for size, counted in ((1, ["ReduceMean"]), ((4, 3), ["AveragePool"])):
        net, path = Pooled(size), tmp_path / f"{size}.onnx"
        write_onnx(trace(net, seg_spec()), {"fp32": path})
        assert [kind for kind in operators(path) if kind not in ("Cast", "Transpose")] == counted
        found = open_backend("onnxruntime", path).run(image)["logits"]
        np.testing.assert_allclose(found, net.predict(torch.from_numpy(image))["logits"].numpy(), rtol=1e-5)


def free_model(output: tuple[int | str, ...]) -> onnx.ModelProto:
    def tensor(name: str, shape: tuple[int | str, ...]) -> onnx.ValueInfoProto:
        return onnx.helper.make_tensor_value_info(name, onnx.TensorProto.UINT8, shape)

    node = onnx.helper.make_node("Identity", ["image"], ["y"])
    graph = onnx.helper.make_graph([node], "g", [tensor("image", ("s40", 4, 4, 3))], [tensor("y", output)])
    graph.value_info.append(tensor("inside", ("2*s40", 3)))
    return onnx.helper.make_model(graph)


def test_the_free_axis_gets_its_name_wherever_it_stands() -> None:
    model = free_model(("s40", 4, 4, 3))
    name_free_axis(model, "batch")
    assert shape_of(model.graph.input[0]) == shape_of(model.graph.output[0]) == ("batch", 4, 4, 3)
    assert shape_of(model.graph.value_info[0]) == ("2*batch", 3)


@pytest.mark.parametrize("output", [(1, 4, 4, 3), ("s40", "s41", 4, 3), ("s40 + 1", 4, 4, 3)])
def test_an_output_without_one_row_for_each_image_is_refused(output: tuple[int | str, ...]) -> None:
    with pytest.raises(ExportError, match="expected a free first axis and no other, found y"):
        name_free_axis(free_model(output), "batch")
