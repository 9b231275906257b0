"""Random numbers of training as a pure function of (seed, step, process), so that a resumed run draws the same ones."""

from __future__ import annotations

import hashlib
import random
import struct
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch


class SeedEachStep(pl.Callback):
    """Seeds Python, numpy and torch before every training batch.

    Dropout and stochastic depth then depend on nothing that happened earlier: not on the loader's workers, not on how
    often the run was validated, stopped or resumed. Nothing random has to be saved.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        """Set the random state of this batch."""
        batch_number = trainer.fit_loop.epoch_loop.total_batch_idx
        seed_everything(self.seed, batch_number, trainer.global_rank)


def seed_everything(*parts: int) -> None:
    """Seed Python, numpy and torch by a number that depends on every part."""
    digest = hashlib.blake2b(struct.pack(f"<{len(parts)}q", *parts), digest_size=4).digest()
    seed = int.from_bytes(digest, "little")
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
