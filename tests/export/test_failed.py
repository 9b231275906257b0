"""What is left of an export that was refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from cvforge.errors import ExportBudgetError
from cvforge.export.beside import write_beside
from cvforge.export.failed import RefusedExportError, failed_path, refused, write_failed
from cvforge.export.int8 import Int8Search, Trial
from cvforge.export.int8_files import Int8File
from cvforge.export.noise import LayerNoise
from cvforge.export.verify import Reference, Verdict
from cvforge_edge.manifest import ModelFile
from cvforge_edge.types import Task
from export.tiny import export_tiny, quiet_stages, tiny_plan

NOISE = tuple(LayerNoise(f"layer{k}", "Conv", 10.0 + k, 0.1) for k in range(5))


def refusal(target: Path, *losses: float) -> RefusedExportError:
    """Of an fp32 file that holds and an int8 file with these losses, one more layer in float each time."""
    names = tuple(layer.name for layer in NOISE)
    search = Int8Search(NOISE, tuple(Trial(names[:count], loss) for count, loss in enumerate(losses)))
    good = Verdict(ModelFile("model_fp32.onnx", "onnx", "fp32", "0" * 64, 9), {"probs": 0.0}, {"top1": 0.75})
    bad = Verdict(
        ModelFile("model_int8.onnx", "onnx", "int8", "1" * 64, 3),
        {"probs": float("inf")},
        {},
        failure="probs hold NaN",
        float_layers=search.float_layers,
        noise={"probs": float("inf")},
    )
    plan = tiny_plan(Task.CLASSIFICATION)
    reference = Reference([], [], {"top1": 0.75}, "top1", 1.0)
    error = ExportBudgetError("export over budget; no bundle was written")
    return refused(error, target, plan, reference=reference, verdicts=(good, bad), int8=(Int8File(bad, search),))


def test_a_refusal_names_the_trials_and_the_noisiest_layers_of_int8_files() -> None:
    error = refusal(Path("b"), 0.04, 0.021, 0.03)
    assert error.exit_code == 3
    assert str(error).splitlines()[1:] == [
        "model_int8.onnx: lost +0.0400 with 0, +0.0210 with 1, +0.0300 with 2 layers back in float; noisiest layers, signal "
        "to noise: layer0 (Conv, 10.0 dB), layer1 (Conv, 11.0 dB), layer2 (Conv, 12.0 dB)"
    ]
    assert "lost +0.0400 with 0 layers back" in str(refusal(Path("b"), 0.04))


def test_all_measurements_of_a_refused_export_are_written_with_null_for_what_could_not_be_measured(
    tmp_path: Path,
) -> None:
    path = write_failed(refusal(tmp_path / "b", float("inf"), 0.02))
    assert path == failed_path(tmp_path / "b") == tmp_path / "b.failed.json"
    found = json.loads(path.read_text())
    assert found["refused"][0] == "export over budget; no bundle was written"
    assert found["checkpoint"]["metrics"] == found["files"]["model_fp32.onnx"]["metrics"] == {"top1": 0.75}
    assert found["files"]["model_int8.onnx"]["failure"] == "probs hold NaN"
    assert found["files"]["model_int8.onnx"]["output_noise"] == {"probs": None}
    assert found["provenance"]["judged_by"]["metric_budget"] == {"fp32": 0.001, "fp16": 0.002}
    int8 = found["int8"]["model_int8.onnx"]
    assert [trial["loss"] for trial in int8["trials"]] == [None, 0.02]
    assert int8["trials"][1]["float_layers"] == ["layer0"]
    assert [layer["name"] for layer in int8["noise"]] == [layer.name for layer in NOISE]


def test_a_refused_export_leaves_its_measurements_and_the_next_good_one_takes_them_away(tmp_path: Path) -> None:
    target, task = tmp_path / "b", Task.CLASSIFICATION
    plan = tiny_plan(task, precisions=("fp32",))
    with pytest.raises(RefusedExportError, match="accepted 0") as caught:
        export_tiny(task, target, plan=replace(plan, tensor_peak={"fp32": 0.0}))
    report = caught.value.report
    assert [verdict.model.path for verdict in report.verdicts] == ["model_fp32.onnx"]
    assert report.verdicts[0].agreement is not None
    write_failed(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["b.failed.json"]
    write_beside(export_tiny(task, target, plan=plan), measure=False, stages=quiet_stages)
    assert target.is_dir()
    assert not failed_path(target).exists()
