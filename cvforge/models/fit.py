"""Which tensors of a weights file fit a network, and loading them only when the fit is complete."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import torch
from torch import nn

from cvforge.errors import CheckpointError

_log = logging.getLogger(__name__)
SHOWN_NAMES = 5
TensorMap = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class Fit:
    """How a set of named tensors matches the tensors of a network.

    Attributes:
        fitting: (name in the network, name in the file) of the tensors that match in name and shape.
        missing: names of the network that the file lacks.
        unexpected: names of the file that the network lacks.
        mismatched: names of the network whose shape in the file differs, with both shapes.
    """

    fitting: tuple[tuple[str, str], ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    mismatched: tuple[str, ...]

    @property
    def complete(self) -> bool:
        """Whether every tensor found its place."""
        return not (self.missing or self.unexpected or self.mismatched)

    def report(self) -> str:
        """One line for each kind of misfit, with the first names."""
        lines = [f"{len(self.fitting)} tensors fit"]
        for title, names in (
            ("missing in the file", self.missing),
            ("unknown to the network", self.unexpected),
            ("of another shape", self.mismatched),
        ):
            if names:
                more = f" and {len(names) - SHOWN_NAMES} more" if len(names) > SHOWN_NAMES else ""
                lines.append(f"{len(names)} {title}: {', '.join(names[:SHOWN_NAMES])}{more}")
        return "; ".join(lines)


def fit_tensors(
    network: TensorMap,
    tensors: TensorMap,
    *,
    ignored: Collection[str] = (),
    same_name: Callable[[str], str] = str,
) -> Fit:
    """Compare the tensors of a network with those of a file.

    Args:
        network: the network's state dict.
        tensors: the file's state dict.
        ignored: names, of either side, that need no partner.
        same_name: brings a name of either side to the form in which both are compared.
    """
    by_name = {same_name(name): name for name in tensors}
    fitting, missing, mismatched = [], [], []
    for name, tensor in network.items():
        source = by_name.pop(same_name(name), None)
        if name in ignored or source in ignored:
            continue
        if source is None:
            missing.append(name)
        elif tensors[source].shape != tensor.shape:
            mismatched.append(f"{name} {tuple(tensors[source].shape)} for {tuple(tensor.shape)}")
        else:
            fitting.append((name, source))
    unexpected = tuple(name for name in by_name.values() if name not in ignored)
    return Fit(tuple(fitting), tuple(missing), unexpected, tuple(mismatched))


def load_fitting(
    network: nn.Module,
    tensors: TensorMap,
    *,
    where: str,
    ignored: Collection[str] = (),
    same_name: Callable[[str], str] = str,
) -> Fit:
    """Copy a file's tensors into a network, all or none.

    Args:
        network: receives the values.
        tensors: the file's state dict.
        where: names the file in messages.
        ignored: names, of either side, that need no partner, such as a classifier for other classes.
        same_name: as in `fit_tensors`.

    Raises:
        CheckpointError: a tensor is missing, unknown or of another shape; the network is unchanged.
    """
    state = network.state_dict()
    fit = fit_tensors(state, tensors, ignored=ignored, same_name=same_name)
    if not fit.complete or not fit.fitting:
        raise CheckpointError(
            f"weights {where} do not fit {type(network).__name__}: {fit.report()}; "
            "give the weights of this architecture, or change the architecture in the config"
        )
    network.load_state_dict({**state, **{name: tensors[source] for name, source in fit.fitting}})
    _log.info("weights %s: %s", where, fit.report())
    return fit
