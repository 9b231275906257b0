"""Ends a run early when whoever watches its scores has seen enough."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl

_log = logging.getLogger(__name__)


class WatchScores(pl.Callback):
    """Hands on the score of every validation; the run ends whole, with its checkpoints, when the answer is to stop.

    Args:
        watch: takes the epoch, counted from 1, and the primary score; says whether to stop.
    """

    def __init__(self, watch: Callable[[int, float], bool]) -> None:
        self.watch = watch
        self.primary = ""
        self.stopped_after: int | None = None

    def setup(self, trainer: pl.Trainer, pl_module: Any, stage: str) -> None:
        """Learn the name of the score."""
        self.primary = pl_module.metric.primary

    def on_validation_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Ask, and stop after this epoch unless it is the last one anyway."""
        if trainer.sanity_checking or trainer.state.fn != "fit":
            return
        epoch = trainer.current_epoch + 1
        if self.watch(epoch, pl_module.scores[self.primary]) and epoch != trainer.max_epochs:
            _log.info("given up after epoch %d", epoch)
            trainer.should_stop = True
            self.stopped_after = epoch
