"""Lightning's Trainer from our section of the config."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from cvforge.config.schema import TrainerSection
from cvforge.tasks.hardware import Hardware

SANITY_BATCHES = 1  # validation is tried out before the first epoch, not after it


def build_trainer(
    section: TrainerSection,
    hardware: Hardware,
    *,
    callbacks: Sequence[pl.Callback],
    loggers: Sequence[pl.loggers.Logger],
    plugins: Sequence[Any],
    folder: Path,
) -> pl.Trainer:
    """The trainer of one run.

    Args:
        section: how training runs; `max_steps` is left to `cvforge.callbacks.StepLimit`.
        hardware: the choice for this machine.
        callbacks: in the order in which they act; checkpoints act last in any case.
        loggers: where numbers go.
        plugins: Lightning plugins, such as how checkpoints are written.
        folder: where Lightning may put files of its own.
    """
    trainer = pl.Trainer(
        accelerator=hardware.accelerator,
        devices=section.devices,
        strategy=section.strategy,
        precision=hardware.precision,
        max_epochs=section.max_epochs,
        limit_train_batches=section.limit_train_batches,
        limit_val_batches=section.limit_val_batches,
        check_val_every_n_epoch=section.validate_every_n_epochs,
        num_sanity_val_steps=SANITY_BATCHES,
        log_every_n_steps=section.log_every_n_steps,
        accumulate_grad_batches=section.accumulate_batches,
        gradient_clip_val=section.gradient_clip_norm,
        deterministic=section.deterministic,
        use_distributed_sampler=False,  # the data module shares images out itself
        enable_model_summary=False,
        enable_progress_bar=any(isinstance(c, pl.callbacks.ProgressBar) for c in callbacks),
        callbacks=list(callbacks),
        logger=list(loggers),
        plugins=list(plugins),
        default_root_dir=str(folder),
    )
    # A debugging aid that comes with `deterministic`: it would fill every new tensor with NaN first.
    torch.utils.deterministic.fill_uninitialized_memory = False
    return trainer
