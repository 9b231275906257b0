"""A moving average of the weights, which is validated, saved and exported in place of the last weights."""

from __future__ import annotations

import copy
from typing import Any

import pytorch_lightning as pl
import torch
from torch import nn

WARMUP_STEPS = 10


class WeightsEMA(pl.Callback):
    """Keeps `ema_net` of the task: a second copy of the net whose weights follow those of the first.

    The copy is a part of the task, so Lightning saves, restores and moves it with everything else, and no weights are
    ever swapped: an interruption cannot leave the wrong ones behind. Running statistics are averaged like weights.

    Args:
        decay: share of the old average that is kept at each optimiser step, in [0, 1). The first steps keep less,
            (1 + n) / (10 + n) after n steps, so that short runs do not drag their random start along.
            Source: TensorFlow's `ExponentialMovingAverage(num_updates=...)`.
    """

    def __init__(self, decay: float) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"decay: found {decay}, expected a number in [0, 1); null switches the average off")
        self.decay = decay
        self._steps = 0
        self._pairs: tuple[list[torch.Tensor], list[torch.Tensor]] = ([], [])
        self._counters: list[tuple[torch.Tensor, torch.Tensor]] = []

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Make the copy before a checkpoint is restored into it."""
        if stage == "fit" and pl_module.ema_net is None:
            pl_module.ema_net = copy.deepcopy(pl_module.net).eval().requires_grad_(False)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Pair the tensors of both nets, now on their device."""
        self._pairs, self._counters = _paired(pl_module.ema_net, pl_module.net)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        """Follow the weights once per optimiser step."""
        if trainer.global_step == self._steps:  # this batch was only accumulated
            return
        self._steps = trainer.global_step
        keep = min(self.decay, (1 + self._steps) / (WARMUP_STEPS + self._steps))
        with torch.no_grad():
            torch._foreach_lerp_(self._pairs[0], self._pairs[1], 1 - keep)
            for average, current in self._counters:
                average.copy_(current)

    def state_dict(self) -> dict[str, int]:
        """The number of optimiser steps followed."""
        return {"steps": self._steps}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Go on counting."""
        self._steps = state_dict["steps"]


def _paired(
    average: nn.Module, current: nn.Module
) -> tuple[tuple[list[torch.Tensor], list[torch.Tensor]], list[tuple[torch.Tensor, torch.Tensor]]]:
    """(averages, currents) of the floating-point tensors, and the pairs of the others, such as batch counters."""
    averages, currents, counters = [], [], []
    targets = dict(average.state_dict(keep_vars=True))
    for name, tensor in current.state_dict(keep_vars=True).items():
        if tensor.is_floating_point():
            averages.append(targets[name].data)
            currents.append(tensor.data)
        else:
            counters.append((targets[name].data, tensor.data))
    return (averages, currents), counters
