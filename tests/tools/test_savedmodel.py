"""`tools/export.py savedmodel` as a user meets it."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from cvforge.cli import run_command
from cvforge.commands import savedmodel
from cvforge.export.savedmodel import backend
from cvforge_edge.manifest import Manifest
from untrained_run import write_untrained_run

OVERRIDES = ["data.val.count=4", "preprocess.size_hw=[64,64]", "export.batch=true"]


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_untrained_run(tmp_path_factory.mktemp("runs") / "run", "cls_demo", OVERRIDES)


def outcome(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    code = run_command(savedmodel.main, [str(argument) for argument in arguments])
    return code, capsys.readouterr().err


def test_what_cannot_be_asked_for_ends_with_2(
    run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, errors = outcome(capsys, "--run", tmp_path / "none")
    assert (code, "none: no such folder; give a run" in errors) == (2, True)
    code, errors = outcome(capsys, "--run", run_folder, "--name", "a/b")
    assert (code, "--name: name: found 'a/b', accepted letters" in errors) == (2, True)
    code, errors = outcome(capsys, "--run", run_folder, "model.width=2")
    assert (code, "a trained model stays as it was trained" in errors) == (2, True)


def test_a_version_that_is_there_ends_with_6(
    run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "m" / "2").mkdir(parents=True)
    code, errors = outcome(capsys, "--run", run_folder, "--output", tmp_path / "m", "--model-version", 2)
    assert (code, "holds version 2 already" in errors, "Traceback" in errors) == (6, True, False)


def test_without_tensorflow_it_ends_with_11_before_any_work(
    run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(backend, "find_spec", lambda _: None)
    code, errors = outcome(capsys, "--run", run_folder, "--output", tmp_path / "m")
    assert (code, "tensorflow, which is not installed; install it with: make install" in errors) == (11, True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.skipif(find_spec("tensorflow") is None, reason="needs the extra `tensorflow`")
def test_a_run_becomes_a_folder_that_a_server_can_be_pointed_at(
    run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = run_command(savedmodel.main, ["--run", str(run_folder), "--output", str(tmp_path / "m"), "--limit", "3"])
    shown = capsys.readouterr().out
    assert code == 0
    assert [path.name for path in (tmp_path / "m").iterdir()] == ["1"]
    assert (tmp_path / "m" / "1" / "saved_model.pb").is_file()
    text = (tmp_path / "m" / "1" / "assets.extra" / "cvforge_manifest.json").read_text(encoding="utf-8")
    manifest = Manifest.from_json(text, where="m")
    assert (manifest.name, manifest.version, manifest.metrics[0].split) == ("cls_demo", 1, "val, 3 of 4 images")
    made = manifest.provenance["savedmodel"]
    assert made["metrics"]["top1"] == pytest.approx(manifest.metrics[0].values["top1"])
    assert 0 < max(made["worst_output_error"].values()) < 1e-3
    assert "batches:    batched" in shown
    assert f"-v {tmp_path / 'm'}:/models/cls_demo:ro" in shown
