"""A run that was stopped and resumed ends exactly as one that was not: every weight, average and moment, bit by bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from cvforge.checkpoint import read_checkpoint
from cvforge.errors import InterruptedRunError
from tiny_run import TinyRun, tiny_run

VOLATILE = {"seconds"}  # how long training took


def final_state(run: TinyRun) -> dict[str, Any]:
    return read_checkpoint(run.folder / "checkpoints" / "last.ckpt")


def assert_same(left: Any, right: Any, where: str = "") -> None:
    assert type(left) is type(right), where
    if isinstance(left, dict):
        assert left.keys() == right.keys(), where
        for key in left.keys() - VOLATILE:
            assert_same(left[key], right[key], f"{where}/{key}")
    elif isinstance(left, list | tuple):
        assert len(left) == len(right), where
        for i, (a, b) in enumerate(zip(left, right, strict=True)):
            assert_same(a, b, f"{where}[{i}]")
    elif isinstance(left, torch.Tensor):
        assert torch.equal(left, right), where
    else:
        assert left == right, where


def assert_resumes_exactly(folder: Path, **settings: Any) -> None:
    stops = {name: settings.pop(name) for name in list(settings) if name.startswith("stop")}
    whole = tiny_run(folder / "whole", **settings)
    with pytest.raises(InterruptedRunError):
        tiny_run(folder / "parts", **settings, **stops)
    resumed = tiny_run(folder / "parts", resume=True, **settings)
    expected, found = final_state(whole), final_state(resumed)
    for key in ("state_dict", "optimizer_states", "lr_schedulers", "global_step", "epoch"):
        assert_same(expected[key], found[key], key)
    for name in ("RunCheckpoints", "WeightsEMA"):
        assert_same(expected["callbacks"][name], found["callbacks"][name], name)
    best = [read_checkpoint(f / "checkpoints" / "best.ckpt")["state_dict"] for f in (whole.folder, resumed.folder)]
    assert_same(*best, where="best")
    assert whole.trainer.current_epoch == resumed.trainer.current_epoch


def rarely(*values: int) -> object:
    return pytest.param(*values, marks=pytest.mark.slow)


@pytest.mark.parametrize(("batch", "num_workers"), [(8, 0), (8, 2), rarely(1, 0), rarely(1, 2), rarely(17, 0)])
def test_a_stop_inside_an_epoch_changes_nothing(tmp_path: Path, batch: int, num_workers: int) -> None:
    assert_resumes_exactly(tmp_path, stop_after_batch=batch, num_workers=num_workers)


@pytest.mark.parametrize("batch", [12, rarely(6), rarely(18)])
def test_a_stop_on_the_last_batch_of_an_epoch_validates_first_and_changes_nothing(tmp_path: Path, batch: int) -> None:
    assert_resumes_exactly(tmp_path, stop_after_batch=batch)


@pytest.mark.parametrize("epoch", [2, rarely(0)])
def test_a_stop_inside_a_validation_finishes_it_and_changes_nothing(tmp_path: Path, epoch: int) -> None:
    assert_resumes_exactly(tmp_path, stop_in_validation_of_epoch=epoch)


@pytest.mark.parametrize("batch", [6, rarely(9), rarely(12)])
def test_a_stop_changes_nothing_when_only_every_second_epoch_is_validated(tmp_path: Path, batch: int) -> None:
    assert_resumes_exactly(tmp_path, stop_after_batch=batch, validate_every_n_epochs=2)


@pytest.mark.parametrize("batch", [8, rarely(3), rarely(12)])
def test_a_stop_changes_nothing_when_batches_are_accumulated(tmp_path: Path, batch: int) -> None:
    assert_resumes_exactly(tmp_path, stop_after_batch=batch, accumulate_batches=3)


@pytest.mark.parametrize("batch", [6, rarely(3)])
def test_a_stop_changes_nothing_when_steps_limit_the_run(tmp_path: Path, batch: int) -> None:
    assert_resumes_exactly(tmp_path, stop_after_batch=batch, max_epochs=-1, max_steps=15)


def test_a_stop_changes_nothing_when_few_batches_make_an_epoch(tmp_path: Path) -> None:
    assert_resumes_exactly(tmp_path, stop_after_batch=6, limit_train_batches=4)


def test_early_stopping_counts_on_after_a_stop(tmp_path: Path) -> None:
    settings = {"patience": 2, "lr": 0.0, "max_epochs": 9}
    whole = tiny_run(tmp_path / "whole", **settings)
    with pytest.raises(InterruptedRunError):
        tiny_run(tmp_path / "parts", stop_after_batch=8, **settings)
    resumed = tiny_run(tmp_path / "parts", resume=True, **settings)
    assert whole.trainer.current_epoch == resumed.trainer.current_epoch == 3


def test_a_finished_run_goes_on_when_it_gets_more_epochs(tmp_path: Path) -> None:
    tiny_run(tmp_path, max_epochs=2)
    assert tiny_run(tmp_path, max_epochs=3, resume=True).trainer.global_step == 18


def test_a_finished_run_that_is_resumed_has_nothing_to_do(tmp_path: Path) -> None:
    first = final_state(tiny_run(tmp_path, max_epochs=2))
    resumed = tiny_run(tmp_path, max_epochs=2, resume=True)
    assert_same(dict(first["state_dict"]), dict(resumed.task.state_dict()))
