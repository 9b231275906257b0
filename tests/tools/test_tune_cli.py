"""`tools/tune.py` as a user types it, up to the first trial."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from conftest import load_tool
from cvforge.cli import run_command
from cvforge.config.catalog import CONFIGS, header, options

Command = Callable[..., int]
LR = "optim.lr=tag(log, interval(1e-4, 1e-2))"


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    return load_tool("tune")


@pytest.fixture
def command(tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> int:
        try:
            return run_command(tool.main, arguments)
        except SystemExit as ended:  # argparse's own way
            return int(str(ended.code))

    return run


def test_help_teaches_ranges_spaces_examples_and_exit_codes(command: Command, capsys: pytest.CaptureFixture) -> None:
    assert command("--help") == 0
    text = capsys.readouterr().out
    assert "'optim.lr=tag(log, interval(1e-4, 1e-2))'" in text
    assert "15 the first trials all failed" in text
    for name in options("space"):
        assert header(CONFIGS / "space" / f"{name}.yaml") in text


def test_its_names_of_samplers_and_pruners_are_those_of_the_search(tool: ModuleType) -> None:
    from cvforge.tune import draw

    assert (tool.SAMPLERS, tool.PRUNERS) == (draw.SAMPLERS, draw.PRUNERS)


def test_check_starts_nothing(command: Command, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert command("--config", "cls_demo", LR, "--check") == 0
    assert capsys.readouterr().out == "cls_demo: OK, searches optim.lr\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--config", "cls_demo"], "nothing to search"),
        (["--config", "cls_demo", "optim.lr=log(1e-4, 1e-2)"], "write tag(log, interval(LOW, HIGH))"),
        (["--config", "cls_demo", LR, "--sampler", "grid"], "--sampler grid: optim.lr has no end of values"),
        (["--config", "cls_demo", LR, "--sampler", "cmaes"], "--sampler cmaes: there is one parameter"),
        (["--config", "cls_demo", LR, "model=a,b", "--sampler", "cmaes"], "model is a choice"),
        (["--config", "cls_demo", LR, "--timeout", "2 hours"], "expected a time such as 90s, 30m, 2h or 1d"),
        (["--config", "cls_demo", LR, "--trials", "0"], "at least 1"),
        (["--config", "cls_demo", LR, "--seed", "-1"], "--seed"),
        ([LR], "--config"),
    ],
)
def test_a_command_line_that_cannot_work_ends_with_code_2(
    arguments: list[str], words: str, command: Command, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert command(*arguments) == 2
    assert words in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90.0), ("1.5m", 90.0), ("2h", 7200.0), ("1d", 86400.0)])
def test_times_have_units(tool: ModuleType, text: str, seconds: float) -> None:
    assert tool._parser().parse_args(["--config", "x", "--timeout", text]).timeout == seconds
