"""`tools/compare.py` on folders of finished runs: tables, warnings, the page, and what it says about bad input."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conftest import load_tool
from cvforge.cli import run_command
from cvforge.config.load import load, resolved_yaml
from page_reader import Page

Compare = Callable[..., tuple[int, str, str]]
COSTS = {
    "parameters": 1_500_000,
    "multiplications": 250_000_000,
    "latency": {"median_ms": 12.25, "low_ms": 12.0, "high_ms": 13.0, "runs": 50},
    "checkpoint_bytes": 20_000_000,
    "weights_bytes": 6_000_000,
}


@pytest.fixture
def compare(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Compare:
    """Runs the tool in this process: exit code, standard output, standard error."""
    monkeypatch.setenv("COLUMNS", "200")
    main = load_tool("compare").main

    def run(*arguments: object) -> tuple[int, str, str]:
        try:
            code = run_command(main, [str(argument) for argument in arguments])
        except SystemExit as ended:  # argparse's own way
            code = int(str(ended.code))
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def write_run(
    folder: Path,
    *,
    config: str = "det_demo",
    overrides: tuple[str, ...] = (),
    val: str = "v1:aaaa",
    labels: tuple[str, ...] = ("a", "b"),
    score: float = 0.5,
    report: bool = True,
    processor: str = "X1",
) -> Path:
    """The records of a finished run."""
    folder.mkdir(parents=True)
    loaded = load(config, list(overrides))
    primary = {"detection": "map", "classification": "top1"}[loaded.task]
    (folder / "config.yaml").write_text(resolved_yaml(loaded))
    data = {"task": loaded.task, "labels": labels, "sizes": {"train": 80, "val": 20}}
    write_json(folder / "data.json", data | {"fingerprints": {"train": "v1:tttt", "val": val}})
    scores = {primary: score, "map50": 2 * score, "ap/a": score, "ap/b": 0.25}
    write_json(folder / "metrics.json", {"best_epoch": 1, "val": scores, "epochs": 3, "steps": 30, "seconds": 90.0})
    write_json(folder / "environment.json", {"processor": processor})
    rows = [f"{epoch},{10 * epoch + 9},{3 - epoch},{score * (epoch + 1) / 3}" for epoch in range(3)]
    (folder / "metrics.csv").write_text("\n".join([f"epoch,step,train/loss,val/{primary}", *rows, ""]))
    if report:
        figures = {"mean_precision": [1.0] * 50 + [0.0] * 51}
        write_json(folder / "report.json", {"primary": primary, "costs": COSTS, "figures": figures})
    return folder


def write_json(path: Path, values: dict[str, Any]) -> None:
    path.write_text(json.dumps(values))


def cells(text: str, name: str) -> list[str]:
    """The cells of the first row of the tables that begins with a name."""
    row = next(line for line in text.splitlines() if line.strip("│┃ ").startswith(name))
    return [cell.strip() for cell in row.strip("│┃").split("│")]


def test_scores_costs_and_differing_keys_stand_beside_each_other(compare: Compare, tmp_path: Path) -> None:
    one = write_run(tmp_path / "one")
    two = write_run(tmp_path / "two", overrides=("optim.lr=0.5", "run.name=other"), score=0.625)
    code, out, err = compare(one, two)
    assert (code, err) == (0, "")
    assert cells(out, "val map ") == ["val map", "0.5000", "0.6250"]
    assert cells(out, "val map50") == ["val map50", "1.0000", "1.2500"]
    assert cells(out, "best epoch") == ["best epoch", "2 of 3", "2 of 3"]
    assert cells(out, "training, min") == ["training, min", "1.5", "1.5"]
    assert cells(out, "parameters") == ["parameters, M", "1.50", "1.50"]
    assert cells(out, "PyTorch latency") == ["PyTorch latency, ms", "12.2", "12.2"]
    assert cells(out, "optim.lr") == ["optim.lr", str(load("det_demo", []).optim.lr), "0.5"]
    assert "run.name" not in out


def test_other_data_other_classes_and_another_machine_get_warnings(compare: Compare, tmp_path: Path) -> None:
    runs = [
        write_run(tmp_path / "one"),
        write_run(tmp_path / "two", val="v1:bbbb", labels=("a", "c"), processor="X2", report=False),
    ]
    code, out, err = compare(*runs)
    assert code == 0
    assert "warning: THE VAL DATA DIFFER: val scores cannot be compared (one aaaa, two bbbb)." in err
    assert "warning: THE CLASSES DIFFER" in err
    assert "warning: The processors differ" in err
    assert "for want of a report: two" in err
    assert cells(out, "parameters") == ["parameters, M", "1.50", ""]
    assert cells(out, "val fingerprint") == ["val fingerprint", "aaaa", "bbbb"]


def test_the_page_has_the_tables_and_a_line_for_each_run(compare: Compare, tmp_path: Path) -> None:
    runs = [write_run(tmp_path / "one"), write_run(tmp_path / "two", val="v1:bbbb", score=0.75)]
    page, values = tmp_path / "compare.html", tmp_path / "compare.json"
    code, out, _ = compare(*runs, "--output", page, "--json", values)
    assert code == 0
    assert f"page: {page}" in out
    text = page.read_text(encoding="utf-8")
    found = Page(text)
    assert not {tag for tag, _ in found.tags} & {"script", "link", "iframe"}
    assert "THE VAL DATA DIFFER" in found.text
    assert ["val map", "0.5000", "0.7500"] in found.rows
    assert [row for row in found.rows if row[0].startswith("ap/")] == [
        ["ap/a", "0.5000", "0.7500"],
        ["ap/b", "0.2500", "0.2500"],
    ]
    charts = [attributes["aria-label"] for tag, attributes in found.tags if tag == "svg"]
    assert charts == [
        "Validation map: map against epoch. one from 0.167 to 0.5; two from 0.25 to 0.75",
        "Training loss: loss against epoch. one from 3 to 1; two from 3 to 1",
        "Precision against recall, overlap 0.5, mean of the classes: precision against recall. "
        "one 0.495 from 1 to 0; two 0.495 from 1 to 0",
    ]
    written = json.loads(values.read_text())
    assert [run["metrics"]["val"]["map"] for run in written["runs"]] == [0.5, 0.75]
    assert written["config"] == {}
    assert len(written["warnings"]) == 1


def test_two_folders_of_one_name_are_told_apart_by_their_paths(compare: Compare, tmp_path: Path) -> None:
    runs = [write_run(tmp_path / "a" / "run"), write_run(tmp_path / "b" / "run")]
    page = tmp_path / "compare.html"
    assert compare(*runs, "--output", page)[0] == 0
    assert ["score", *map(str, runs)] in Page(page.read_text(encoding="utf-8")).rows


def test_everything_that_is_wrong_is_told_at_once(compare: Compare, tmp_path: Path) -> None:
    one, unfinished = write_run(tmp_path / "one"), write_run(tmp_path / "two")
    (unfinished / "metrics.json").unlink()
    (tmp_path / "empty").mkdir()
    code, out, err = compare(one, one, unfinished, tmp_path / "empty", tmp_path / "absent")
    assert (code, out) == (2, "")
    assert f"{one}: is given twice" in err
    assert (
        f"{unfinished}: has not finished (no metrics.json); tools/train.py --resume {unfinished} goes on with it" in err
    )
    assert f"{tmp_path / 'empty'}: neither a run" in err
    assert f"{tmp_path / 'absent'}: no such folder" in err


def test_different_tasks_and_a_single_run_are_refused(compare: Compare, tmp_path: Path) -> None:
    one, other = write_run(tmp_path / "one"), write_run(tmp_path / "two", config="cls_demo")
    code, _, err = compare(one, other)
    assert code == 2
    assert "runs of different tasks cannot be compared: one is for detection, two is for classification" in err
    code, _, err = compare(one)
    assert code == 2
    assert "expected two or more" in err


def test_a_damaged_run_and_a_page_that_cannot_be_written(compare: Compare, tmp_path: Path) -> None:
    one, other = write_run(tmp_path / "one"), write_run(tmp_path / "two")
    assert compare(one, other, "--output", tmp_path / "nowhere" / "x.html")[0] == 2
    (other / "data.json").write_text("{")
    code, _, err = compare(one, other)
    assert code == 5
    assert "data.json: cannot be read" in err
    (other / "data.json").write_text((one / "data.json").read_text())
    (other / "metrics.json").write_text("{")
    code, _, err = compare(one, other)
    assert code == 5
    assert "metrics.json: cannot be read" in err
