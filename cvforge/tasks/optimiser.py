"""AdamW or SGD with a learning rate for the backbone, and the warm-up and decay of both."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import nn

from cvforge.config.schema import OPTIMISERS, SCHEDULES, OptimSection
from cvforge.errors import ConfigError

ADAM_BETA2 = 0.999


def build_optimiser(net: nn.Module, optim: OptimSection) -> torch.optim.Optimizer:
    """An optimiser over the trainable weights of a net.

    Biases, normalisation and every other weight of one axis or none are not decayed (He et al. 2019, Bag of Tricks,
    section 3.1). The weights of `net.backbone` learn at `backbone_lr_factor` of the rate.

    Raises:
        ConfigError: the name is unknown, or nothing in the net is trainable.
    """
    groups = parameter_groups(net, optim)
    if not groups:
        raise ConfigError("optim: the model has no trainable weight; unfreeze some of it")
    if optim.name == "adamw":
        return torch.optim.AdamW(groups, lr=optim.lr, betas=(optim.momentum, ADAM_BETA2))
    if optim.name == "sgd":
        return torch.optim.SGD(groups, lr=optim.lr, momentum=optim.momentum, nesterov=optim.momentum > 0)
    raise ConfigError(f"optim.name: found {optim.name!r}, accepted {', '.join(OPTIMISERS)}")


def parameter_groups(net: nn.Module, optim: OptimSection) -> list[dict[str, object]]:
    """The trainable weights in up to four groups: of the backbone or not, decayed or not; each named."""
    backbone = getattr(net, "backbone", None)
    in_backbone = {id(p) for p in backbone.parameters()} if backbone is not None else set()
    groups: dict[str, list[nn.Parameter]] = {}
    for parameter in net.parameters():
        if parameter.requires_grad:
            part = "backbone" if id(parameter) in in_backbone else "rest"
            kind = "decayed" if parameter.ndim > 1 else "undecayed"
            groups.setdefault(f"{part}/{kind}", []).append(parameter)
    return [
        {
            "name": name,
            "params": parameters,
            "lr": optim.lr * (optim.backbone_lr_factor if name.startswith("backbone") else 1.0),
            "weight_decay": optim.weight_decay if name.endswith("/decayed") else 0.0,
        }
        for name, parameters in sorted(groups.items())
    ]


def learning_rate_factor(optim: OptimSection, *, steps_per_epoch: int, total_steps: int) -> Callable[[int], float]:
    """The factor on the peak learning rate as a function of the optimiser step, counted from 0.

    Linear warm-up over `warmup_epochs`, then half a cosine down to `min_lr_factor` at the last step (Loshchilov and
    Hutter 2017, SGDR, eq. 5), or constant.

    Raises:
        ConfigError: the schedule is unknown.
    """
    if optim.schedule not in SCHEDULES:
        raise ConfigError(f"optim.schedule: found {optim.schedule!r}, accepted {', '.join(SCHEDULES)}")
    warmup_steps = round(optim.warmup_epochs * steps_per_epoch)
    decay_steps = max(1, total_steps - 1 - warmup_steps)

    def factor(step: int) -> float:
        if step < warmup_steps:
            return (step + 1) / (warmup_steps + 1)
        if optim.schedule == "constant":
            return 1.0
        progress = min(1.0, (step - warmup_steps) / decay_steps)
        return optim.min_lr_factor + (1 - optim.min_lr_factor) * 0.5 * (1 + math.cos(math.pi * progress))

    return factor
