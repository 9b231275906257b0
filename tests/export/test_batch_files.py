"""Files for any number of images at once: made on request, judged in company, and never run by a device."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from cvforge.errors import ConfigError, ExportBudgetError, ExportError
from cvforge.export import source
from cvforge.export.batch_files import InCompany
from cvforge.export.formats import INT8
from cvforge.export.onnx import write_onnx
from cvforge.export.onnx_shapes import shape_of
from cvforge.export.report import ExportReport
from cvforge.export.torch_backend import TorchBackend
from cvforge.export.wrap import GraphSpec, trace_batch
from cvforge_edge.backends import open_backend
from cvforge_edge.bundle import open_bundle
from cvforge_edge.errors import BackendError, BundleError
from cvforge_edge.predictor import Predictor
from cvforge_edge.selftest import run_self_test
from cvforge_edge.types import Task
from export.tiny import (
    LABELS,
    SIZE_HW,
    TinyClassifier,
    TinyDetector,
    export_tiny,
    tiny_calibration,
    tiny_net,
    tiny_plan,
)

BUDGET = {
    "metric_budget": {"fp32": 0.001, "fp16": 0.002, "int8": 0.05},
    "tensor_tolerance": {"fp32": 1e-3, "fp16": 2e-2, "int8": 0.5},
}
COUNTS = (1, 2, 7)


def images(count: int) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, *SIZE_HW, 3)).astype(np.uint8)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Task], ExportReport]:
    """The bundle of a tiny net with all precisions in both forms, made once."""
    reports: dict[Task, ExportReport] = {}

    def export(task: Task) -> ExportReport:
        if task not in reports:
            plan = tiny_plan(task, precisions=("fp32", "fp16", INT8), batch=True, **BUDGET)
            target = tmp_path_factory.mktemp("served") / task.value
            reports[task] = export_tiny(task, target, plan=plan, calibration=tiny_calibration(task))
        return reports[task]

    return export


@pytest.mark.parametrize("task", list(Task))
def test_each_row_of_a_batch_is_what_pytorch_says_of_that_image(
    task: Task, served: Callable[[Task], ExportReport]
) -> None:
    checkpoint = TorchBackend(tiny_net(task))
    session = onnxruntime.InferenceSession(
        served(task).folder / "model_fp32_batch.onnx", providers=["CPUExecutionProvider"]
    )
    names = [output.name for output in session.get_outputs()]
    for count in COUNTS:
        found = dict(zip(names, session.run(None, {"image": images(count)}), strict=True))
        for number, image in enumerate(images(count)):
            for name, expected in checkpoint.run(image[None]).items():
                assert found[name].shape == (count, *expected.shape[1:])
                np.testing.assert_allclose(found[name][number], expected[0], rtol=1e-4, atol=1e-4)


def test_the_batch_form_has_one_free_axis_with_a_name_and_every_shape(served: Callable[[Task], ExportReport]) -> None:
    graph = onnx.load(served(Task.DETECTION).folder / "model_fp32_batch.onnx").graph
    assert shape_of(graph.input[0]) == ("batch", *SIZE_HW, 3)
    assert [shape_of(output) for output in graph.output] == [("batch", 24, 4), ("batch", 24, 3)]
    outputs = {entry.name for entry in graph.output}
    written = [name for node in graph.node for name in node.output if name not in outputs]
    assert [entry.name for entry in graph.value_info] == written


@pytest.mark.parametrize("task", list(Task))
def test_both_forms_of_every_precision_keep_their_budget_and_pass_the_self_test(
    task: Task, served: Callable[[Task], ExportReport]
) -> None:
    report = served(task)
    bundle = open_bundle(report.folder)
    assert [model.path for model in bundle.manifest.batch_models] == [
        "model_fp32_batch.onnx",
        "model_fp16_batch.onnx",
        "model_int8_batch.onnx",
    ]
    scores = {entry.subject: entry.values[entry.primary] for entry in bundle.manifest.metrics}
    for model in bundle.manifest.batch_models:
        assert scores[model.path] == pytest.approx(scores[model.path.replace("_batch", "")], abs=0.02)
        assert run_self_test(bundle, precision=model.precision, batch=True).model == model.path
    errors = bundle.manifest.provenance["worst_output_error"]
    assert max(errors["model_fp32_batch.onnx"].values()) < 1e-3


def test_a_device_never_takes_the_file_for_servers(served: Callable[[Task], ExportReport]) -> None:
    bundle = open_bundle(served(Task.DETECTION).folder)
    assert [model.path for model in bundle.manifest.models] == ["model_fp32.onnx", "model_fp16.onnx", "model_int8.onnx"]
    assert run_self_test(bundle, backend="onnxruntime").model == "model_fp32.onnx"
    with Predictor.of_bundle(bundle, batch=True) as predictor:
        with pytest.raises(BackendError, match=r"found an input \(0, 32, 48, 3\)"):
            predictor.backend.run(images(2)[:0])
        assert predictor.backend.run(images(2))["scores"].shape == (2, 24, 3)
    with Predictor.of_bundle(bundle) as predictor, pytest.raises(BackendError, match=r"expected \(1, 32, 48, 3\)"):
        predictor.backend.run(images(2))


def test_without_being_asked_for_there_is_none_and_the_message_says_how_to_get_one(
    exported: Callable[[Task], ExportReport],
) -> None:
    report = exported(Task.DETECTION)
    assert not list(report.folder.glob("*batch*"))
    assert '"batch"' not in (report.folder / "manifest.json").read_text()
    with pytest.raises(
        BundleError, match=r"no model of the batch form; the bundle has .*export with --batch"
    ) as caught:
        Predictor.from_bundle(report.folder, batch=True)
    assert caught.value.exit_code == 7


class OneRow(TinyClassifier):
    """Works for one image and gives every image of a batch the mean of all."""

    def predict(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        probs = super().predict(images)["probs"]
        return {"probs": probs.mean(dim=0, keepdim=True).expand_as(probs)}


class FixedCount(TinyDetector):
    """Its code knows how many images there are."""

    def predict(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        outputs = super().predict(images)
        return {"boxes": outputs["boxes"], "scores": outputs["scores"].reshape(len(images.tolist()), 24, 3)}


def test_rows_that_mix_are_over_budget_and_the_message_names_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def mixing(net: torch.nn.Module, spec: GraphSpec) -> object:
        torch.manual_seed(0)
        wrong = OneRow()
        wrong.load_state_dict(net.state_dict())
        return trace_batch(wrong, spec)

    monkeypatch.setattr(source, "trace_batch", mixing)
    plan = tiny_plan(Task.CLASSIFICATION, batch=True)
    with pytest.raises(ExportBudgetError, match=r"model_fp32_batch\.onnx:\n  output 'probs' is off by") as caught:
        export_tiny(Task.CLASSIFICATION, tmp_path / "b", plan=plan)
    assert "model_fp32.onnx" not in str(caught.value)
    assert caught.value.exit_code == 3
    assert list(tmp_path.iterdir()) == []


def test_a_net_that_fixes_the_number_of_images_is_named() -> None:
    with pytest.raises(
        ExportError, match=r"FixedCount cannot be traced.*the batch form \(export.batch\) needs"
    ) as caught:
        trace_batch(FixedCount(), GraphSpec(Task.DETECTION, SIZE_HW, len(LABELS)))
    assert caught.value.exit_code == 12


def test_a_batch_form_without_onnx_is_refused_at_the_door() -> None:
    with pytest.raises(ConfigError, match="export.batch: only onnx has a batch form, found formats tflite") as caught:
        tiny_plan(Task.DETECTION, formats=("tflite",), batch=True)
    assert caught.value.exit_code == 2


def test_the_same_weights_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.onnx", "b.onnx"):
        spec = GraphSpec(Task.SEGMENTATION, SIZE_HW, len(LABELS))
        write_onnx(trace_batch(tiny_net(Task.SEGMENTATION), spec), {"fp32": tmp_path / name})
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


def test_company_changes_sides_and_each_image_gets_its_own_row() -> None:
    class Rows:
        def __init__(self) -> None:
            self.seen: list[list[int]] = []

        def run(self, image_u8: np.ndarray) -> dict[str, np.ndarray]:
            self.seen.append([int(image[0, 0, 0]) for image in image_u8])
            return {"first": image_u8[:, 0, 0, 0]}

        def close(self) -> None: ...

    rows = Rows()
    company = InCompany(rows)
    found = [company.run(np.full((1, 2, 2, 3), value, np.uint8))["first"].tolist() for value in (5, 6, 7)]
    assert found == [[5], [6], [7]]
    assert rows.seen == [[250, 5], [6, 5], [6, 7]]


def test_a_batch_file_is_scored_by_hand_like_any_other(served: Callable[[Task], ExportReport]) -> None:
    path = served(Task.CLASSIFICATION).folder / "model_int8_batch.onnx"
    backend = open_backend("onnxruntime", path)
    together = backend.run(images(5))["probs"]
    for number, image in enumerate(images(5)):
        np.testing.assert_allclose(together[number], backend.run(image[None])["probs"][0], atol=1e-3)
