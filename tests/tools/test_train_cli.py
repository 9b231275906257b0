"""`tools/train.py` as a user types it: what it prints, where, and how it ends."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from conftest import REPOSITORY, load_tool
from cvforge.cli import run_command
from cvforge.config.catalog import runnable_configs
from cvforge.config.load import load, resolved_yaml
from cvforge.config.schema import Config
from cvforge.runs import create_run

SCRIPT = REPOSITORY / "tools" / "train.py"
Command = Callable[..., int]


@pytest.fixture(scope="module")
def train() -> ModuleType:
    return load_tool("train")


@pytest.fixture
def command(train: ModuleType) -> Command:
    def run(*arguments: str) -> int:
        try:
            return run_command(train.main, arguments)
        except SystemExit as ended:  # argparse's own way
            return int(str(ended.code))

    return run


def test_help_teaches_with_every_config_examples_and_exit_codes(
    command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("--help") == 0
    text = capsys.readouterr().out
    for name, header in runnable_configs().items():
        assert f"  {name} " in text
        assert header in text
    assert "python tools/train.py --config det_coco.yaml data.root=/data/coco" in text
    assert "130 interrupted, resumable" in text


def test_check_prints_ok_and_starts_nothing(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("--config", "det_demo.yaml", "optim.lr=0.01", "--check") == 0
    assert capsys.readouterr().out == "det_demo.yaml: OK\n"


def test_overrides_may_stand_between_options(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("optim.lr=0.5", "--print-config", "trainer.max_epochs=3", "--config", "det_demo") == 0
    shown = yaml.safe_load(capsys.readouterr().out)
    assert (shown["optim"]["lr"], shown["trainer"]["max_epochs"]) == (0.5, 3)


def test_a_wrong_config_ends_with_2_and_every_problem_on_stderr(
    command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("--config", "det_coco.yaml", "+model.widht=2", "optim.lr=x") == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines()[0] == "error: det_coco.yaml: 3 problems"
    for words in ("data.root: missing", "model.widht: unknown key", "optim.lr: found 'x' (text)"):
        assert words in captured.err
    assert "Traceback" not in captured.err


def test_a_config_with_problems_can_still_be_printed(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("--config", "det_coco.yaml", "--print-config") == 2
    captured = capsys.readouterr()
    assert yaml.safe_load(captured.out)["data"]["root"] == "???"
    assert "data.root: missing" in captured.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "give either --config or --resume; configs: cls_clothing"),
        (("--config", "det_demo", "--resume", "runs/a"), "give either --config or --resume"),
        (("--conf", "det_demo"), "unrecognized arguments: --conf"),
        (("--config", "det_demo", "--epochs", "3"), "unrecognized arguments: --epochs"),
        (("--config", "det_dem"), "did you mean 'det_demo'?"),
    ],
)
def test_a_wrong_command_line_ends_with_2(
    arguments: Sequence[str], words: str, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(*arguments) == 2
    assert words in capsys.readouterr().err


@pytest.fixture
def fitted(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Config, dict[str, object]]]:
    """What reached `fit`, which is tested elsewhere."""
    calls: list[tuple[Config, dict[str, object]]] = []
    fit = pytest.importorskip("cvforge.fit")
    monkeypatch.setattr(fit, "fit", lambda config, **arguments: calls.append((config, arguments)))
    return calls


def test_the_checked_config_is_handed_to_fit(command: Command, fitted: list[tuple[Config, dict[str, object]]]) -> None:
    assert command("--config", "det_demo", "run.seed=5") == 0
    assert fitted == [(load("det_demo", ["run.seed=5"]), {})]


def test_resume_goes_on_with_the_runs_own_config_and_last_checkpoint(
    command: Command, fitted: list[tuple[Config, dict[str, object]]], tmp_path: Path
) -> None:
    run = create_run(tmp_path / "run")
    run.config.write_text(resolved_yaml(load("det_demo", ["optim.lr=0.25"])), encoding="utf-8")
    run.last_checkpoint.write_bytes(b"")
    run.best_checkpoint.write_bytes(b"")
    assert command("--resume", str(run.dir), "trainer.max_epochs=77") == 0
    assert command("--resume", str(run.best_checkpoint)) == 0
    (first, arguments), (_, from_best) = fitted
    assert (first.optim.lr, first.trainer.max_epochs) == (0.25, 77)
    assert arguments == {"run_dir": run.dir, "resume_from": run.last_checkpoint}
    assert from_best["resume_from"] == run.best_checkpoint


def test_resuming_what_is_no_run_or_has_no_checkpoint_ends_with_5(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("--resume", str(tmp_path / "no")) == 5
    run = create_run(tmp_path / "run")
    run.config.write_text(resolved_yaml(load("det_demo", [])), encoding="utf-8")
    assert command("--resume", str(run.dir)) == 5
    errors = capsys.readouterr().err
    assert "not a run (there is no such folder)" in errors
    assert "stopped before the first one was written" in errors


def test_as_a_process_problems_of_the_command_line_are_told_without_importing_torch(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise ImportError('torch was imported')\n")
    path = os.pathsep.join([str(tmp_path), str(REPOSITORY), str(REPOSITORY / "deploy" / "edge")])
    for arguments, code, words in (
        (["--help"], 0, "examples:"),
        (["--config", "det_demo", "model=nope"], 2, "error: command line: not understood"),
        (["--config", "det_nope"], 2, "error: --config det_nope: no such config"),
    ):
        done = subprocess.run(
            [sys.executable, str(SCRIPT), *arguments],
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": path},
            cwd=tmp_path,
        )
        assert (done.returncode, words in done.stdout + done.stderr) == (code, True), done.stderr
        assert "torch was imported" not in done.stderr
