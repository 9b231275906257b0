"""Int8 files that keep their budget, with as many layers back in float as that takes and no more."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cvforge.export.budget import within_budget
from cvforge.export.noise import LayerNoise

ENTRY_LAYERS = 2
LAYERS_PER_ENTRY_LAYER = 10


def entry_layers(layers: int) -> int:
    """How many layers at the entry of a network stay in float, of all its layers with weights.

    What is rounded there runs through all layers behind it: the first two make up to a third of all noise. They have
    next to no weights, and int8 kernels gain nothing on an input of three channels. Small networks give less, so that
    int8 stays int8.

    >>> entry_layers(9), entry_layers(10), entry_layers(50)
    (0, 1, 2)
    """
    return min(ENTRY_LAYERS, layers // LAYERS_PER_ENTRY_LAYER)


class Quantiser(Protocol):
    """Makes int8 files of one float file."""

    def write(self, target: Path, *, float_layers: Sequence[str] = ()) -> None:
        """Write the int8 file; named layers stay in float, and those of the entry always."""

    def noise(self, int8: Path) -> list[LayerNoise]:
        """The noise of every layer of a file that `write` made, worst first; without those of the entry."""


@dataclass(frozen=True)
class Trial:
    """One int8 file that was written and scored.

    Attributes:
        float_layers: the layers that were left in float.
        loss: how much of the primary metric it lost; negative for a gain.
    """

    float_layers: tuple[str, ...]
    loss: float


@dataclass(frozen=True)
class Int8Search:
    """How an int8 file was found.

    Attributes:
        noise: of every layer with all of them in int8, worst first.
        trials: in the order in which they were tried.
    """

    noise: tuple[LayerNoise, ...]
    trials: tuple[Trial, ...]

    @property
    def best(self) -> Trial:
        """The one whose file was kept: of those that lose least, the first, which has the fewest layers in float.

        A search ends with the first trial within the budget, and all before it lost more.
        """
        return min(self.trials, key=lambda trial: trial.loss)

    @property
    def float_layers(self) -> tuple[str, ...]:
        """The layers that the file has in float."""
        return self.best.float_layers


def write_within_budget(
    quantiser: Quantiser,
    target: Path,
    *,
    loss: Callable[[], float],
    budget: float,
    max_float_layers: int,
) -> Int8Search:
    """Write an int8 file; while it loses more than its budget, give the noisiest layers back to float, one by one.

    Args:
        quantiser: of the float file.
        target: the file.
        loss: scores the file in its real runtime.
        budget: how much may be lost.
        max_float_layers: where to give up; the file is then that of the best trial, and over budget.
    """
    quantiser.write(target)
    trials = [Trial((), loss())]
    noise = quantiser.noise(target)
    for count in range(1, min(max_float_layers, len(noise)) + 1):
        if within_budget(trials[-1].loss, budget):
            break
        float_layers = tuple(layer.name for layer in noise[:count])
        quantiser.write(target, float_layers=float_layers)
        trials.append(Trial(float_layers, loss()))
    search = Int8Search(tuple(noise), tuple(trials))
    if search.best is not trials[-1]:
        quantiser.write(target, float_layers=search.float_layers)
    return search
