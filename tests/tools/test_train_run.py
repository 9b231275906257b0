"""Whole runs from the shipped configs: what they leave in their folder, and how they are stopped and resumed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import pytest
import torch

from conftest import REPOSITORY
from cvforge.checkpoint import net_state, read_checkpoint
from cvforge.config.build import load_net
from cvforge.config.load import load, load_resolved
from cvforge.errors import CheckpointError, RunExistsError
from cvforge.fit import check_resume, fit
from cvforge.history import read_history
from cvforge.runs import open_run
from page_reader import Page

TEST_SET = "data.test={_target_: cvforge.data.synthetic.ShapesClassification, count: 6, size_hw: [32, 32], seed: 9}"
TINY = [
    "debug=tiny",
    "data.train.count=12",
    "data.val.count=8",
    "preprocess.size_hw=[32,32]",
    "trainer.precision=32-true",
    "trainer.threads=1",
    "trainer.progress=false",
]
START_S = 600  # a busy machine needs minutes to import everything
CONFIGS = ("cls_demo.yaml", "det_demo.yaml", "seg_demo.yaml")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "finished"
    fit(load("cls_demo.yaml", [*TINY, TEST_SET, "trainer.max_epochs=2"]), run_dir=folder)
    return folder


def test_a_run_leaves_its_records(finished: Path) -> None:
    found = {str(path.relative_to(finished)) for path in finished.rglob("*") if path.is_file()}
    events = {name for name in found if name.startswith("tensorboard/events.out.tfevents.")}
    assert events
    assert found - events == {
        "config.yaml",
        "environment.json",
        "data.json",
        "log.txt",
        "metrics.csv",
        "metrics.json",
        "curves.png",
        "predictions.png",
        "report.html",
        "report.json",
        "checkpoints/best.ckpt",
        "checkpoints/last.ckpt",
    }
    run = open_run(finished)
    assert json.loads(run.data.read_text())["sizes"] == {"train": 12, "val": 8, "test": 6}
    assert json.loads(run.environment.read_text())["hardware"]["precision"] == "32-true"
    assert "epoch 2/2" in run.log.read_text()
    for picture in (run.curves, run.predictions):
        assert cv2.imread(str(picture)).std() > 5


def test_the_scores_of_a_run_are_those_of_its_best_checkpoint(finished: Path) -> None:
    run = open_run(finished)
    summary = json.loads(run.metrics.read_text())
    best = read_checkpoint(run.best_checkpoint, task="classification", labels=run.labels)
    assert summary["val"] == best["callbacks"]["RunCheckpoints"]["best_scores"]
    assert (summary["epochs"], summary["steps"]) == (2, 4)
    for split in ("val", "test"):  # which classes have a recall depends on the pictures
        assert [name for name in summary[split] if "/" not in name] == ["top1"]
    logged = [row["val/top1"] for row in read_history(run.history) if "val/top1" in row]
    assert summary["val"]["top1"] == pytest.approx(max(logged))


def share_right(folder: Path) -> float:
    """Of the images in the report's confusion matrix."""
    values = json.loads(open_run(folder).report_values.read_text())
    counts = values["figures"]["confusion"]
    assert sum(map(sum, counts)) == values["images"]
    return sum(row[k] for k, row in enumerate(counts)) / values["images"]


def test_the_report_is_of_the_best_checkpoint_and_shows_the_run(finished: Path) -> None:
    run = open_run(finished)
    summary = json.loads(run.metrics.read_text())
    assert share_right(finished) == pytest.approx(summary["val"]["top1"])
    page = Page(run.report.read_text(encoding="utf-8"))
    assert ["val", f"{summary['val']['top1']:.4f}"] in page.rows
    assert ["test", f"{summary['test']['top1']:.4f}"] in page.rows
    for split, fingerprint in run.fingerprints.items():
        assert [split, str(run.sizes[split]), fingerprint] in page.rows
    assert ["trainer.max_epochs", "2", str(load("cls_demo", []).trainer.max_epochs)] in page.rows
    assert "Learning rate" in page.text
    assert f"report:      {run.report}" in run.log.read_text()


def test_the_net_of_a_run_has_its_averaged_weights(finished: Path) -> None:
    run = open_run(finished)
    expected = net_state(read_checkpoint(run.best_checkpoint))
    assert all(torch.equal(tensor, expected[name]) for name, tensor in load_net(run).state_dict().items())


def test_a_second_run_into_the_same_folder_is_refused(finished: Path) -> None:
    before = sorted((path, path.stat().st_mtime_ns) for path in finished.rglob("*"))
    with pytest.raises(RunExistsError, match="--resume"):
        fit(load("cls_demo.yaml", TINY), run_dir=finished)
    assert sorted((path, path.stat().st_mtime_ns) for path in finished.rglob("*")) == before


def test_a_run_of_another_model_task_or_label_set_is_not_resumed(finished: Path) -> None:
    last = open_run(finished).last_checkpoint
    with pytest.raises(CheckpointError, match="trained for classification, but detection is asked for"):
        fit(load("det_demo.yaml", TINY), run_dir=finished, resume_from=last)
    with pytest.raises(CheckpointError, match="the weights belong to another model"):
        fit(load("cls_demo.yaml", [*TINY, "model.backbone=mobilenetv3_small_050"]), run_dir=finished, resume_from=last)
    with pytest.raises(CheckpointError, match="optim.ema_decay was switched on or off"):
        fit(load("cls_demo.yaml", [*TINY, "optim.ema_decay=null"]), run_dir=finished, resume_from=last)


def test_whether_a_run_can_be_resumed_is_known_without_training(finished: Path) -> None:
    last = open_run(finished).last_checkpoint
    check_resume(load("cls_demo.yaml", TINY), last)
    with pytest.raises(CheckpointError, match="optim.ema_decay was switched on or off"):
        check_resume(load("cls_demo.yaml", [*TINY, "optim.ema_decay=null"]), last)


def test_a_resumed_run_goes_on_in_its_folder(finished: Path) -> None:
    run = open_run(finished)
    config = load_resolved(run.config, ["trainer.max_epochs=3"], require_data=True)
    fit(config, run_dir=run.dir, resume_from=run.last_checkpoint)
    assert json.loads(run.metrics.read_text())["steps"] == 6
    assert "max_epochs: 3" in (finished / "config.resumed-1.yaml").read_text()
    assert "max_epochs: 2" in run.config.read_text()
    assert [row["step"] for row in read_history(run.history) if "val/top1" in row] == [1, 3, 5]
    assert share_right(finished) == pytest.approx(json.loads(run.metrics.read_text())["val"]["top1"])


def test_a_resumed_run_without_more_to_train_has_its_report_anew_and_no_more_history(finished: Path) -> None:
    run = open_run(finished)
    before, summary = read_history(run.history), json.loads(run.metrics.read_text())
    run.report.unlink()
    done = load_resolved(run.config, [f"trainer.max_epochs={summary['epochs']}"])
    fit(done, run_dir=run.dir, resume_from=run.last_checkpoint)
    assert run.report.is_file()
    assert share_right(finished) == pytest.approx(summary["val"]["top1"])
    assert read_history(run.history) == before


def test_the_last_weights_are_scored_even_when_their_epoch_is_not_validated(tmp_path: Path) -> None:
    fit(load("cls_demo.yaml", [*TINY, "trainer.validate_every_n_epochs=3"]), run_dir=tmp_path / "run")
    run = open_run(tmp_path / "run")
    assert json.loads(run.metrics.read_text())["best_epoch"] == 0
    assert run.best_checkpoint.is_file()


@pytest.mark.slow
@pytest.mark.parametrize("config", CONFIGS[1:])
def test_every_demo_trains_to_its_end(tmp_path: Path, config: str) -> None:
    fit(load(config, [*TINY, "preprocess.size_hw=[96,96]"]), run_dir=tmp_path / "run")
    assert json.loads(open_run(tmp_path / "run").metrics.read_text())["steps"] == 2


@pytest.mark.slow
@pytest.mark.parametrize(("number", "num_workers"), [(signal.SIGINT, 2), (signal.SIGTERM, 0)])
def test_ctrl_c_leaves_a_checkpoint_that_goes_on(tmp_path: Path, number: int, num_workers: int) -> None:
    folder = tmp_path / "run"
    long = ["trainer.max_epochs=500", "trainer.limit_train_batches=3", f"data.num_workers={num_workers}"]
    start = command("--config", "cls_demo.yaml", f"run.dir={folder}", *TINY, *long)
    started = subprocess.Popen(start, **options(), start_new_session=True)
    try:
        wait_for(folder / "checkpoints" / "last.ckpt", started)
        os.killpg(started.pid, number)  # a terminal sends Ctrl-C to the loader's workers too
        _, errors = started.communicate(timeout=START_S)
    finally:
        if started.poll() is None:
            os.killpg(started.pid, signal.SIGKILL)
            started.communicate()
    assert started.returncode == 130, errors
    assert f"--resume {folder}" in errors
    assert "Traceback" not in errors
    assert errors.count("press Ctrl-C again") == 1
    steps = read_checkpoint(folder / "checkpoints" / "last.ckpt")["global_step"]
    resume = command("--resume", str(folder), f"trainer.max_steps={steps + 2}")
    done = subprocess.run(resume, **options(), timeout=START_S, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads((folder / "metrics.json").read_text())["steps"] == steps + 2


@pytest.mark.slow
def test_a_taken_folder_ends_the_command_with_its_exit_code(finished: Path) -> None:
    started = command("--config", "cls_demo.yaml", f"run.dir={finished}", *TINY)
    done = subprocess.run(started, **options(), timeout=START_S, check=False)
    assert done.returncode == 6
    assert done.stderr.startswith(f"error: {finished}: holds a run or other files already")


@pytest.mark.slow
def test_two_processes_train_from_the_command_line(tmp_path: Path) -> None:
    two = ["trainer.devices=2", "trainer.strategy=ddp", "trainer.accelerator=cpu"]
    started = command("--config", "cls_demo.yaml", f"run.dir={tmp_path / 'run'}", *TINY, *two)
    done = subprocess.run(started, **options(), timeout=2 * START_S, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["epochs"] == 1


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + START_S
    while not path.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, f"{path} did not appear"
        time.sleep(0.1)


def command(*arguments: str) -> list[str]:
    return [sys.executable, str(REPOSITORY / "tools" / "train.py"), *arguments]


def options() -> dict[str, object]:
    paths = os.pathsep.join(str(REPOSITORY / part) for part in (".", "deploy/edge"))
    environment = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    return {"env": environment, "cwd": REPOSITORY, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
