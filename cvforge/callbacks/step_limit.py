"""Ends a run after a number of optimiser steps."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl


class StepLimit(pl.Callback):
    """Ours, because Lightning 2.6 counts epochs wrongly when a run with its own `max_steps` is resumed.

    The last step is followed by a validation, so the last weights are scored too.

    Args:
        max_steps: optimiser steps, over all resumes.
    """

    def __init__(self, max_steps: int) -> None:
        self.max_steps = max_steps

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop at once when a resumed run has them all."""
        self._check(trainer)

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Stop after the last one."""
        self._check(trainer)

    def _check(self, trainer: pl.Trainer) -> None:
        if trainer.global_step >= self.max_steps:
            trainer.should_stop = True
