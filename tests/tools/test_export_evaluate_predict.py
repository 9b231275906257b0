"""The three commands on a real run: what they print, write, and say about bad input."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from conftest import REPOSITORY, load_tool
from cvforge.cli import run_command
from cvforge_edge.bundle import open_bundle
from untrained_run import write_untrained_run

Run = Callable[..., tuple[int, str, str]]
OVERRIDES = [
    "data.val.count=8",
    "model.backbone=test_resnet",
    "preprocess.size_hw=[64,64]",
    "export.formats=[onnx]",
    "export.golden_images=2",
]


@pytest.fixture
def tool(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Runs a command in this process: exit code, standard output, standard error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("signal.signal", lambda *_: None)

    def run(name: str, *arguments: object) -> tuple[int, str, str]:
        code = run_command(load_tool(name).main, [str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder as training leaves it, with a network that nobody trained."""
    folder = tmp_path_factory.mktemp("runs") / "cls_demo-20261123-101500"
    return write_untrained_run(folder, "cls_demo.yaml", OVERRIDES)


@pytest.fixture(scope="session")
def bundle(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from cvforge.commands.export import ExportRequest, export_run

    target = tmp_path_factory.mktemp("bundles") / "shapes"
    return export_run(ExportRequest(trained, output=target, precisions=("fp32",), measure=False))[0].folder


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("a", "b"):
        noise = np.random.default_rng(ord(name)).integers(0, 256, (40, 60, 3)).astype(np.uint8)
        cv2.imwrite(str(folder / f"{name}.png"), noise)
    return folder


def test_export_writes_a_bundle_and_a_table_with_checkpoint_and_file(tool: Run, trained: Path, tmp_path: Path) -> None:
    code, out, err = tool("export", "--run", trained, "--precision", "fp16", "--limit", "4")
    assert code == 0, err
    manifest = open_bundle(tmp_path / "bundles" / "cls_demo").manifest
    assert [model.path for model in manifest.models] == ["model_fp16.onnx"]
    assert manifest.metrics[0].split == "val, 4 of 8 images"
    assert manifest.metrics[0].run_id == trained.name
    assert "checkpoint (PyTorch)" in out
    assert "model_fp16.onnx" in out
    assert "agreement with checkpoint (PyTorch)" in out
    assert "4 of 4" in out
    assert "bundle: bundles/cls_demo" in out
    assert "convert to onnx (fp16)" in err
    assert str(trained.parent) not in (tmp_path / "bundles" / "cls_demo" / "manifest.json").read_text()


def test_evaluate_gives_the_same_scores_for_a_run_and_its_bundle(
    tool: Run, trained: Path, bundle: Path, tmp_path: Path
) -> None:
    code, run_out, err = tool("evaluate", trained, "--json", tmp_path / "run.json")
    assert code == 0, err
    code, bundle_out, err = tool("evaluate", bundle, "--run", trained, "--json", tmp_path / "bundle.json")
    assert code == 0, err
    run_scores, bundle_scores = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("run", "bundle"))
    assert run_scores["metrics"] == bundle_scores["metrics"]
    assert run_scores["images"] == 8
    assert run_scores["data_fingerprint"] == bundle_scores["data_fingerprint"]
    assert "top1" in run_out
    assert run_out.splitlines()[1:] == bundle_out.splitlines()[1:]  # all but the line that names the model


def test_a_bundle_can_be_scored_on_the_data_of_a_config(tool: Run, bundle: Path, tmp_path: Path) -> None:
    code, _, err = tool(
        "evaluate", bundle, "--config", "cls_demo.yaml", "data.val.count=3", "--json", tmp_path / "scores.json"
    )
    assert code == 0, err
    assert json.loads((tmp_path / "scores.json").read_text())["images"] == 3


def test_predict_writes_pictures_and_json_lines_for_a_run_and_a_bundle(
    tool: Run, trained: Path, bundle: Path, photos: Path, tmp_path: Path
) -> None:
    lines = []
    for name, model in (("run", trained), ("bundle", bundle)):
        code, out, err = tool("predict", model, "--source", photos, "--output", tmp_path / name)
        assert code == 0, err
        assert "2 frames" in out
        assert sorted(path.name for path in (tmp_path / name / "annotated").iterdir()) == ["a.png", "b.png"]
        text = (tmp_path / name / "predictions.jsonl").read_text()
        lines.append([json.loads(line) for line in text.splitlines()])
    assert len(lines[0]) == 2
    for of_run, of_bundle in zip(*lines, strict=True):
        assert of_run["classes"][0]["label"] == of_bundle["classes"][0]["label"]


def test_predict_annotates_a_video(tool: Run, bundle: Path, tmp_path: Path) -> None:
    from cvforge.data.clip import render_clip

    render_clip(tmp_path / "clip.mp4", 5, size_hw=(64, 96))
    code, out, err = tool("predict", bundle, "--source", tmp_path / "clip.mp4", "--output", tmp_path / "out")
    assert code == 0, err
    assert "5 frames" in out
    assert (tmp_path / "out" / "annotated.mp4").stat().st_size > 0
    assert len((tmp_path / "out" / "predictions.jsonl").read_text().splitlines()) == 5


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["export", "--run", "nowhere"], 2, "nowhere: no such folder; give a run"),
        (["evaluate", "photos"], 2, "photos: neither a run, which has a config.yaml, nor a bundle"),
        (["evaluate", "BUNDLE"], 2, "a bundle does not say where data are; give --run RUN"),
        (["evaluate", "BUNDLE", "--run", "RUN", "--config", "cls_demo.yaml"], 2, "--config and --run: give one"),
        (["evaluate", "BUNDLE", "--checkpoint", "last"], 2, "is a bundle and holds no checkpoint"),
        (["evaluate", "RUN", "--backend", "litert"], 2, "is a run, whose checkpoint runs in PyTorch"),
        (["evaluate", "RUN", "--threads", "3"], 2, "--threads: "),
        (
            ["predict", "RUN", "--source", "photos", "--output", "o", "--precision", "fp16", "--threads", "4"],
            2,
            "--precision, --threads",
        ),
        (["evaluate", "RUN", "--detections", "a.json"], 2, "data.val is ShapesClassification, accepted CocoDetection"),
        (["evaluate", "RUN", "model.width=2"], 2, "a trained model stays as it was trained"),
        (["evaluate", "RUN", "--split", "test"], 2, "data.test: the config names no such set"),
        (
            ["evaluate", "BUNDLE", "--config", "det_demo.yaml"],
            4,
            "a data set for detection, but the model is for classif",
        ),
        (["evaluate", "RUN", "--checkpoint", "last"], 5, "the run has no such checkpoint; it has best"),
        (["evaluate", "BUNDLE", "--run", "RUN", "--precision", "fp16"], 7, "no model fp16"),
        (
            ["export", "--run", "RUN", "--format", "onnx,tflight"],
            2,
            "format 'tflight' is unknown; accepted tflite, onnx",
        ),
        (["export", "--run", "RUN", "--format", ","], 2, "no format given; accepted tflite, onnx"),
        (["export", "--run", "RUN", "--precision", "int4"], 2, "precision 'int4' is unknown; accepted fp32, fp16"),
        (["export", "--run", "RUN", "--output", "photos"], 2, "photos: exists and is not a bundle"),
        (["export", "--run", "RUN", "--output", "BUNDLE"], 6, "holds a bundle already; give another name, or --force"),
        (["export", "--run", "RUN", "optim.lr=1"], 2, "here only keys of data, export, evaluation can be given"),
        (["export", "--run", "RUN", "--name", "my model"], 2, "found 'my model'"),
        (["predict", "BUNDLE", "--source", "nothing.mp4", "--output", "out"], 8, "nothing.mp4: no such file"),
        (["predict", "BUNDLE", "--source", "photos", "--output", "photos/a.png"], 10, "the folder cannot be made"),
        (
            ["predict", "BUNDLE", "--source", "photos", "--output", "o", "--score-threshold", "0.5"],
            2,
            "only for detection",
        ),
    ],
)
def test_bad_input_ends_with_its_code_and_a_message(
    tool: Run, trained: Path, bundle: Path, photos: Path, arguments: list[str], code: int, words: str
) -> None:
    places = {"RUN": str(trained), "BUNDLE": str(bundle)}
    found, _, err = tool(*(places.get(argument, argument) for argument in arguments))
    assert words in err
    assert found == code
    assert "Traceback" not in err


def test_a_misspelt_sub_command_of_export_is_suggested(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        load_tool("export").main(["sgin", "--bundle", "b"])
    assert ended.value.code == 2
    assert "found 'sgin', accepted --run RUN, or one of import, keygen" in (said := capsys.readouterr().err)
    assert "did you mean sign?" in said


@pytest.mark.parametrize(
    ("place", "words"),
    [("missing/a.json", "lies in missing, and there is no such folder"), ("photos", "photos is a folder")],
)
@pytest.mark.parametrize("option", ["--json", "--detections"])
def test_a_file_that_cannot_be_written_is_refused_before_the_work(
    tool: Run, photos: Path, capsys: pytest.CaptureFixture[str], option: str, place: str, words: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        tool("evaluate", "run", option, place)
    assert ended.value.code == 2
    assert words in capsys.readouterr().err


def test_a_damaged_checkpoint_is_named(tool: Run, trained: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(trained, copy)
    checkpoint = copy / "checkpoints" / "best.ckpt"
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    code, _, err = tool("export", "--run", copy)
    assert code == 5
    assert "best.ckpt: the file is damaged or not a checkpoint" in err
    assert not (tmp_path / "bundles").exists()


@pytest.mark.parametrize("damage", ["change", "remove"])
def test_a_damaged_bundle_is_refused(tool: Run, bundle: Path, photos: Path, tmp_path: Path, damage: str) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(bundle, copy)
    if damage == "remove":
        (copy / "model_fp32.onnx").unlink()
    else:
        with (copy / "model_fp32.onnx").open("r+b") as file:
            file.seek(500)
            byte = file.read(1)
            file.seek(500)
            file.write(bytes([byte[0] ^ 1]))
    code, _, err = tool("predict", copy, "--source", photos, "--output", tmp_path / "out")
    assert code == 7
    assert f"model_fp32.onnx: {'missing' if damage == 'remove' else 'altered'}" in err


def test_a_bundle_without_manifest_is_a_damaged_bundle(tool: Run, bundle: Path, photos: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(bundle, copy)
    (copy / "manifest.json").unlink()
    code, _, err = tool("predict", copy, "--source", photos, "--output", tmp_path / "out")
    assert code == 7
    assert "manifest.json: not found" in err


def test_a_budget_of_the_command_line_holds(tool: Run, trained: Path, tmp_path: Path) -> None:
    tight = ["export.tensor_tolerance.fp16=1e-9", "--output", str(tmp_path / "b"), "--limit", "2"]
    code, _, err = tool("export", "--run", trained, *tight)
    assert code == 3
    assert "model_fp16.onnx:" in err
    assert "tolerance 1e-09" in err
    assert "accept this with the key above, .fp16=VALUE" in err
    assert [path.name for path in tmp_path.iterdir()] == ["b.failed.json"]


@pytest.mark.parametrize("command", ["export", "export import", "evaluate", "predict", "demo"])
def test_help_teaches_without_importing_torch(command: str) -> None:
    name, *words = command.split()
    code = f"import runpy, sys; sys.argv = {[f'{name}.py', *words, '--help']}\n"
    code += f"try: runpy.run_path('tools/{name}.py', run_name='__main__')\n"
    code += "except SystemExit as end: assert end.code == 0\nassert 'torch' not in sys.modules"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "python tools/" in done.stdout or name == "demo"
