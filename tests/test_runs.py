"""Run folders: made once, found again, and clear about what is missing."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

import pytest

from cvforge.environment import git_state, without_secrets
from cvforge.errors import CheckpointError, RunExistsError, StorageError
from cvforge.runs import create_run, default_run_dir, open_run, refuse_taken


def complete_run(folder: Path) -> Path:
    run = create_run(folder)
    run.config.write_text("task: detection\n")
    run.data.write_text(json.dumps({"task": "detection", "labels": ["cat", "dog"]}))
    run.best_checkpoint.write_bytes(b"x")
    return folder


def test_a_run_without_a_folder_is_named_by_name_and_time() -> None:
    assert default_run_dir("det", now=datetime(2026, 1, 2, 3, 4, 5)) == Path("runs/det-20260102-030405")


def test_a_new_run_may_use_an_empty_folder(tmp_path: Path) -> None:
    assert create_run(tmp_path).best_checkpoint.parent.is_dir()


def test_a_taken_folder_is_refused_with_the_way_to_resume(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(RunExistsError, match=rf"--resume {tmp_path}") as caught:
        create_run(tmp_path)
    assert caught.value.exit_code == 6
    assert [file.name for file in tmp_path.iterdir()] == ["notes.txt"]


def test_a_folder_below_a_file_is_refused_before_anything_is_built(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(StorageError, match=r"notes\.txt is a file; choose another folder with run\.dir"):
        refuse_taken(tmp_path / "notes.txt" / "run")


@pytest.mark.parametrize("part", [".", "checkpoints", "checkpoints/best.ckpt", "config.yaml"])
def test_a_run_is_found_from_its_folder_and_its_files(tmp_path: Path, part: str) -> None:
    complete_run(tmp_path / "run")
    run = open_run(tmp_path / "run" / part)
    assert run.dir.resolve() == tmp_path / "run"
    assert (run.task, run.labels) == ("detection", ("cat", "dog"))


def test_a_folder_without_a_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"not a run \(it has no config.yaml\)"):
        open_run(tmp_path)
    with pytest.raises(CheckpointError, match=r"nowhere: not a run \(there is no such folder\)"):
        open_run(tmp_path / "nowhere")


def test_a_missing_checkpoint_says_which_there_are(tmp_path: Path) -> None:
    run = open_run(complete_run(tmp_path / "run"))
    assert run.checkpoint("best") == run.best_checkpoint
    with pytest.raises(CheckpointError, match=r"last.ckpt: the run has no such checkpoint; it has best"):
        run.checkpoint("last")
    with pytest.raises(CheckpointError, match="found checkpoint name 'newest', accepted best, last"):
        run.checkpoint("newest")


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"labels": '])
def test_a_damaged_record_is_named(tmp_path: Path, content: str) -> None:
    run = open_run(complete_run(tmp_path / "run"))
    run.data.write_text(content)
    with pytest.raises(CheckpointError, match=r"data.json: cannot be read"):
        _ = run.labels


def test_secrets_are_masked() -> None:
    assert without_secrets("api_key=abc") == "api_key=***"
    assert without_secrets("logging.wandb_token=abc") == "logging.wandb_token=***"
    assert without_secrets("optim.lr=0.1") == "optim.lr=0.1"


def test_a_folder_outside_a_repository_has_no_git_state(tmp_path: Path) -> None:
    assert git_state(tmp_path) is None
