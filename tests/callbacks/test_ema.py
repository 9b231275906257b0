"""The moving average of the weights, against the recurrence written out."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from cvforge.callbacks.ema import WeightsEMA
from tiny_run import tiny_run


def test_the_average_follows_the_recurrence_of_its_formula(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    follow = WeightsEMA.on_train_batch_end

    def spy(self: WeightsEMA, trainer, task, *rest) -> None:
        before = None if seen else task.ema_net.head.weight.clone()
        follow(self, trainer, task, *rest)
        seen.append((before, task.net.head.weight.detach().clone(), task.ema_net.head.weight.clone()))

    monkeypatch.setattr(WeightsEMA, "on_train_batch_end", spy)
    tiny_run(tmp_path, max_epochs=2)
    average = seen[0][0]
    for step, (_, current, found) in enumerate(seen, start=1):
        keep = min(0.95, (1 + step) / (10 + step))
        average = keep * average + (1 - keep) * current
        torch.testing.assert_close(found, average)
    assert len(seen) == 12


def test_accumulated_batches_count_as_one_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tiny_run(tmp_path, max_epochs=1, accumulate_batches=3)
    assert run.trainer.global_step == 2
    saved = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert saved["callbacks"]["WeightsEMA"] == {"steps": 2}


def test_running_statistics_are_averaged_and_counters_copied(tmp_path: Path) -> None:
    task = tiny_run(tmp_path, max_epochs=2).task
    trained, average = task.net.backbone[1], task.ema_net.backbone[1]
    assert average.num_batches_tracked == trained.num_batches_tracked == 12
    assert not torch.equal(average.running_mean, trained.running_mean)


def test_a_decay_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match=r"decay: found 1, expected a number in \[0, 1\)"):
        WeightsEMA(1)
