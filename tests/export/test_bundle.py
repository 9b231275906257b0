"""Exports of three tasks, end to end, and what must not be left behind when one fails."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from cvforge.errors import ConfigError, ExportBudgetError, ExportError, RunExistsError, StorageError
from cvforge.export import bundle as bundle_module
from cvforge.export import source as source_module
from cvforge.export.bundle import write_bundle
from cvforge.export.formats import FORMATS
from cvforge.export.onnx import write_onnx
from cvforge.export.report import ExportReport
from cvforge.export.source import network_source
from cvforge.export.wrap import TracedGraph, trace
from cvforge_edge.bundle import open_bundle
from cvforge_edge.manifest import CHECKPOINT
from cvforge_edge.predictor import Predictor
from cvforge_edge.selftest import run_self_test
from cvforge_edge.types import Task
from export.tiny import LABELS, TinyDetector, export_tiny, quiet_stages, tiny_net, tiny_plan, tiny_scoring

Export = Callable[[Task], ExportReport]
ALL_FILES = ["model_fp32.tflite", "model_fp16.tflite", "model_fp32.onnx", "model_fp16.onnx"]


class RedAndBlueSwapped(TinyDetector):
    """The classic mistake: the graph takes BGR for RGB."""

    def predict(self, images):  # type: ignore[no-untyped-def]
        return super().predict(images.flip(3))


def write_wrong_onnx(graph: TracedGraph, paths: dict[str, Path]) -> None:
    wrong = RedAndBlueSwapped()
    wrong.load_state_dict(tiny_net(Task.DETECTION).state_dict())
    write_onnx(trace(wrong, graph.spec), paths)


def check_bundle(report: ExportReport) -> None:
    bundle = open_bundle(report.folder)
    assert [model.path for model in bundle.manifest.models] == ALL_FILES
    for model in bundle.manifest.models:
        self_test = run_self_test(bundle, backend=FORMATS[model.format].runtime, precision=model.precision)
        assert self_test.items == 3
        assert not self_test.fell_back
    assert [entry.subject for entry in bundle.manifest.metrics] == [CHECKPOINT, *ALL_FILES]
    for entry in bundle.manifest.metrics:
        assert entry.values[entry.primary] == pytest.approx(report.reference.metrics[entry.primary], abs=1e-3)
        assert entry.values[entry.primary] > 0.9
    assert (report.folder / "model_card.md").read_text().startswith(f"# {bundle.manifest.name}, version 1")


def test_a_detector_becomes_a_bundle_whose_files_all_pass_the_self_test(exported: Export) -> None:
    check_bundle(exported(Task.DETECTION))


@pytest.mark.slow
@pytest.mark.parametrize("task", [Task.CLASSIFICATION, Task.SEGMENTATION])
def test_every_task_becomes_a_bundle_whose_files_all_pass_the_self_test(exported: Export, task: Task) -> None:
    check_bundle(exported(task))


@pytest.mark.parametrize("task", [Task.CLASSIFICATION, Task.SEGMENTATION])
def test_other_tasks_become_onnx_bundles_that_score_as_the_checkpoint(tmp_path: Path, task: Task) -> None:
    report = export_tiny(task, tmp_path / "bundle")
    run_self_test(open_bundle(report.folder), precision="fp16")
    primary = report.reference.primary
    assert [verdict.metrics[primary] for verdict in report.verdicts] == [report.reference.metrics[primary]] * 2
    assert report.reference.metrics[primary] > 0.9


def test_every_precision_and_format_finds_the_same_boxes(exported: Export) -> None:
    folder = exported(Task.DETECTION).folder
    image = tiny_scoring(Task.DETECTION).dataset[4].image_bgr
    found = []
    for backend in ("litert", "onnxruntime"):
        for precision in ("fp32", "fp16"):
            with Predictor.from_bundle(folder, backend=backend, precision=precision) as predictor:
                found.append(predictor.predict(image))
    assert len(found[0]) == 1
    for other in found[1:]:
        assert other.class_ids.tolist() == found[0].class_ids.tolist()
        assert other.boxes_xyxy == pytest.approx(found[0].boxes_xyxy, abs=0.02)


def test_half_precision_files_are_smaller(exported: Export) -> None:
    sizes = {model.path: model.size_bytes for model in exported(Task.DETECTION).manifest.models}
    assert sizes["model_fp16.onnx"] < sizes["model_fp32.onnx"]
    assert sizes["model_fp16.tflite"] < sizes["model_fp32.tflite"]


def test_a_bundle_names_no_path_of_the_machine_that_made_it(exported: Export) -> None:
    folder = exported(Task.DETECTION).folder
    needles = [str(Path(__file__).resolve().parents[2]).encode(), b"/site-packages", b"test_bundle", b"tiny.py"]
    for path in folder.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert [needle for needle in needles if needle in content] == [], path


def test_a_changed_byte_in_a_model_is_refused(exported: Export, tmp_path: Path) -> None:
    import shutil

    from cvforge_edge.errors import BundleError

    copy = tmp_path / "copy"
    shutil.copytree(exported(Task.DETECTION).folder, copy)
    content = bytearray((copy / "model_fp32.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (copy / "model_fp32.onnx").write_bytes(content)
    with pytest.raises(BundleError, match="model_fp32.onnx: altered"):
        open_bundle(copy)


def test_a_wrong_file_stops_the_export_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FORMATS, "onnx", dataclasses.replace(FORMATS["onnx"], write=write_wrong_onnx))
    with pytest.raises(ExportBudgetError) as caught:
        export_tiny(Task.DETECTION, tmp_path / "bundle")
    message = str(caught.value)
    assert ExportBudgetError.exit_code == 3
    assert "model_fp32.onnx:" in message
    assert "output 'scores' differs by" in message
    assert "map 0.3478, the checkpoint has 1.0000: 0.6522 lost, budget 0.001" in message
    assert "over by 0.6512" in message
    assert "classes that lost most: blue -0.9816, red -0.9750" in message
    assert "model_fp16.onnx:" in message
    assert "half precision" not in message  # the conversion is wrong, whatever the precision
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("failure", [RuntimeError("power"), KeyboardInterrupt(), SystemExit(143)])
def test_whatever_ends_an_export_in_the_middle_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: BaseException
) -> None:
    def fail(*_arguments: object, **_names: object) -> None:
        raise failure

    monkeypatch.setattr(bundle_module, "choose_golden", fail)
    with pytest.raises(type(failure)):
        export_tiny(Task.CLASSIFICATION, tmp_path / "bundle")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_a_storage_error_and_the_old_bundle_stays(
    tmp_path: Path, exported: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno
    import shutil

    target = tmp_path / "bundle"
    shutil.copytree(exported(Task.DETECTION).folder, target)
    before = {path: path.read_bytes() for path in target.rglob("*") if path.is_file()}

    def full(*_arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(bundle_module, "write_golden", full)
    with pytest.raises(StorageError, match="No space left on device.*nothing was changed"):
        export_tiny(Task.CLASSIFICATION, target, force=True)
    assert {path: path.read_bytes() for path in target.rglob("*") if path.is_file()} == before
    assert list(tmp_path.iterdir()) == [target]


def test_an_existing_bundle_is_refused_before_anything_is_converted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "manifest.json").write_text("{}")

    def never(*_arguments: object) -> None:
        raise AssertionError("converted although the folder is taken")

    monkeypatch.setattr(source_module, "trace", never)
    with pytest.raises(RunExistsError, match="holds a bundle already; .*--force"):
        export_tiny(Task.CLASSIFICATION, tmp_path)


def test_force_replaces_a_bundle_but_never_another_folder(tmp_path: Path) -> None:
    target, photos = tmp_path / "bundle", tmp_path / "photos"
    export_tiny(Task.CLASSIFICATION, target)
    plan = tiny_plan(Task.CLASSIFICATION, precisions=("fp32",), version=2)
    export_tiny(Task.CLASSIFICATION, target, plan=plan, force=True)
    assert open_bundle(target).manifest.version == 2
    assert not (target / "model_fp16.onnx").exists()
    photos.mkdir()
    with pytest.raises(ConfigError, match="is not a bundle, so it is left alone"):
        export_tiny(Task.CLASSIFICATION, photos, force=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle", "photos"]


def test_an_eager_only_net_says_why_it_cannot_be_exported(tmp_path: Path) -> None:
    net = tiny_net(Task.DETECTION)
    net.export_blocker = "its number of boxes depends on the image"
    with pytest.raises(ExportError, match="TinyDetector cannot be exported: its number of boxes depends on the image"):
        write_bundle(
            network_source(net),
            tiny_scoring(Task.DETECTION),
            tiny_plan(Task.DETECTION),
            target=tmp_path / "bundle",
            replace_existing=False,
            stages=quiet_stages,
        )
    assert ExportError.exit_code == 12
    assert list(tmp_path.iterdir()) == []


def test_golden_images_show_objects_and_travel_without_loss(exported: Export) -> None:
    from cvforge_edge.golden import read_golden

    report = exported(Task.DETECTION)
    golden = read_golden(report.folder / "golden", task=Task.DETECTION)
    originals = [sample.image_bgr.tobytes() for sample in (tiny_scoring(Task.DETECTION).dataset[i] for i in range(12))]
    for item in golden.items:
        assert item.image_bgr.tobytes() in originals
        assert len(item.prediction) == 1
    assert set(golden.tolerances) == {"fp32", "fp16"}
    assert golden.tolerances["fp32"].output_max <= golden.tolerances["fp16"].output_max


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"formats": ("onnx", "tflight")}, "format 'tflight' is unknown; accepted tflite, onnx"),
        ({"formats": ()}, "no format given"),
        ({"precisions": ("fp32", "fp32")}, "precision 'fp32' is given twice"),
        ({"metric_budget": {"fp32": 0.001}}, "export.metric_budget.fp16: found None"),
        ({"tensor_tolerance": {"fp32": -1, "fp16": 1}}, "export.tensor_tolerance.fp32: found -1"),
        ({"golden_images": 0}, "export.golden_images: found 0"),
    ],
)
def test_a_plan_that_cannot_work_is_refused(changes: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        tiny_plan(Task.DETECTION, **changes)


def test_labels_travel_in_the_order_of_the_scores(exported: Export) -> None:
    assert exported(Task.DETECTION).manifest.labels == LABELS
