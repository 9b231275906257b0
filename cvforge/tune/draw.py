"""How values are drawn and when trials are given up: Optuna's samplers and pruners by name."""

from __future__ import annotations

import hashlib
from itertools import islice, product
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner
from optuna.samplers import BaseSampler, CmaEsSampler, RandomSampler, TPESampler

from cvforge.errors import ConfigError
from cvforge.tune.space import Choice, Numbers, Parameter

SAMPLERS = ("tpe", "random", "grid", "cmaes")
PRUNERS = ("median", "hyperband", "none")
STARTUP_SHARE = 4
"""A quarter of the trials is drawn at random before the sampler begins to conclude, and at most ten."""
MOST_STARTUP = 10
COMPARED_FROM = 4
"""So many finished trials must stand before one is given up for being worse than their median."""
QUIET_SHARE = 4
"""Nothing is given up in the first quarter of its epochs: the learning rate rises there."""
LARGEST_GRID = 10_000


def distributions(parameters: list[Parameter]) -> dict[str, BaseDistribution]:
    """The space in Optuna's words."""
    return {parameter.key: _distribution(parameter.values) for parameter in parameters}


def build_sampler(name: str, *, seed: int, number: int, trials: int) -> BaseSampler:
    """A sampler for one trial.

    Args:
        name: one of `SAMPLERS`; what `grid` leaves open (nothing, as a rule) is random.
        seed: of the study.
        number: of the trial; with the seed it decides what is drawn, whichever process draws and however often the
            search was stopped.
        trials: how many are wanted.
    """
    digest = hashlib.blake2b(f"{seed} {number}".encode(), digest_size=4).digest()
    own_seed = int.from_bytes(digest, "little")
    startup = max(1, min(MOST_STARTUP, trials // STARTUP_SHARE))
    if name == "tpe":
        return TPESampler(n_startup_trials=startup, seed=own_seed)
    if name == "cmaes":
        return CmaEsSampler(n_startup_trials=startup, seed=own_seed, warn_independent_sampling=False)
    return RandomSampler(seed=own_seed)


def build_pruner(name: str, *, max_epochs: int | None) -> BasePruner:
    """A pruner that counts in epochs.

    Args:
        name: one of `PRUNERS`.
        max_epochs: of a trial; None where trials differ in it.
    """
    if name == "median":
        quiet = (max_epochs or 0) // QUIET_SHARE
        return MedianPruner(n_startup_trials=COMPARED_FROM, n_warmup_steps=quiet)
    if name == "hyperband":
        return HyperbandPruner(max_resource=max_epochs or "auto")
    return NopPruner()


def check_sampler(name: str, parameters: list[Parameter]) -> None:
    """Whether a sampler can do anything with a space.

    Raises:
        ConfigError: it cannot.
    """
    open_ended = [p.key for p in parameters if p.values.points is None]
    if name == "grid" and open_ended:
        text = (
            f"--sampler grid: {', '.join(open_ended)} has no end of values; give range(LOW, HIGH, step=S) or choice()"
        )
        raise ConfigError(text)
    if name == "grid" and grid_size(parameters) > LARGEST_GRID:
        text = f"--sampler grid: {grid_size(parameters)} combinations, accepted up to {LARGEST_GRID}; use random or tpe"
        raise ConfigError(text)
    numbers = [p.key for p in parameters if isinstance(p.values, Numbers)]
    if name == "cmaes" and (len(numbers) < len(parameters) or len(numbers) < 2):
        choices = [p.key for p in parameters if isinstance(p.values, Choice)]
        found = f"{', '.join(choices)} is a choice" if choices else "there is one parameter"
        raise ConfigError(f"--sampler cmaes: {found}, and it searches among two or more numbers; use tpe")


def grid_size(parameters: list[Parameter]) -> int:
    """Combinations of all values; every range must have an end."""
    size = 1
    for parameter in parameters:
        size *= len(parameter.values.points or ())
    return size


def grid_points(parameters: list[Parameter], count: int) -> list[dict[str, Any]]:
    """The first combinations, the last parameter changing quickest."""
    keys = [parameter.key for parameter in parameters]
    combinations = product(*(parameter.values.points or () for parameter in parameters))
    return [dict(zip(keys, values, strict=True)) for values in islice(combinations, count)]


def _distribution(values: Numbers | Choice) -> BaseDistribution:
    if isinstance(values, Choice):
        return CategoricalDistribution(values.texts)
    if values.whole:
        return IntDistribution(int(values.low), int(values.high), log=values.log, step=int(values.step or 1))
    return FloatDistribution(values.low, values.high, log=values.log, step=values.step)
