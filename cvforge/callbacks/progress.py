"""What a user sees while training: a bar on a terminal, and lines that stay readable in a file."""

from __future__ import annotations

import logging
import time
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import RichProgressBar

from cvforge.callbacks.checkpoints import RunCheckpoints

_log = logging.getLogger(__name__)
LINE_EVERY_S = 20.0
MINUTE_S = 60.0


class ProgressLines(pl.Callback):
    """A line for every epoch: loss, score, best score, time left; where no bar shows, one every twenty seconds too.

    Args:
        checkpoints: knows the best score.
        inside_epochs: whether to write lines inside epochs.
    """

    def __init__(self, checkpoints: RunCheckpoints, *, inside_epochs: bool) -> None:
        self.checkpoints = checkpoints
        self.inside_epochs = inside_epochs
        self._started_s = self._line_s = self._epoch_s = time.monotonic()
        self._first_step = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        self._started_s = self._line_s = self._epoch_s = time.monotonic()
        self._first_step = trainer.global_step

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock of the epoch."""
        self._epoch_s = time.monotonic()

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """A line when the last one is long ago."""
        if not self.inside_epochs or time.monotonic() - self._line_s < LINE_EVERY_S:
            return
        self._line_s = time.monotonic()
        _log.info(
            "%s  batch %d/%s  %s%s",
            _epoch(trainer),
            batch_idx + 1,
            trainer.num_training_batches,
            _loss(trainer),
            self._time_left(trainer, pl_module),
        )

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """The line of the epoch."""
        self._line_s = time.monotonic()
        monitor = self.checkpoints.monitor
        score = trainer.callback_metrics.get(monitor)
        best = self.checkpoints.best_score
        scores = ""
        if score is not None and best is not None:
            scores = f"{monitor} {float(score):.4f} (best {best:.4f}, epoch {(self.checkpoints.best_epoch or 0) + 1})  "
        took = time.monotonic() - self._epoch_s
        _log.info(
            "%s  %s%s%.1f s%s", _epoch(trainer), _loss(trainer), scores, took, self._time_left(trainer, pl_module)
        )

    def _time_left(self, trainer: pl.Trainer, pl_module: Any) -> str:
        done = trainer.global_step - self._first_step
        left = pl_module.total_steps - trainer.global_step
        if done <= 0 or left <= 0:
            return ""
        seconds = (time.monotonic() - self._started_s) / done * left
        return (
            f", about {seconds / MINUTE_S:.0f} min left" if seconds >= 2 * MINUTE_S else f", about {seconds:.0f} s left"
        )


def _epoch(trainer: pl.Trainer) -> str:
    total = f"/{trainer.max_epochs}" if trainer.max_epochs and trainer.max_epochs > 0 else ""
    return f"epoch {trainer.current_epoch + 1}{total}"


def _loss(trainer: pl.Trainer) -> str:
    loss = trainer.callback_metrics.get("train/loss")
    return "" if loss is None else f"loss {float(torch.as_tensor(loss)):.4f}  "


class TerminalBar(RichProgressBar):
    """Lightning's rich progress bar, counting epochs from 1 as our lines do."""

    def _get_train_description(self, current_epoch: int) -> str:
        last = self.trainer.max_epochs
        return f"epoch {current_epoch + 1}" + (f"/{last}" if last and last > 0 else "")
