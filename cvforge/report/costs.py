"""What a net costs: weights, operations, and time on this machine."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from cvforge.latency import Latency, measure_latency


@dataclass(frozen=True)
class Costs:
    """Of one net.

    Attributes:
        parameters: numbers that training can change.
        multiplications: multiplications with addition for one image, in convolutions and matrix products.
        latency: of `predict` in PyTorch on this machine's processor, one image, one thread, float32.
        checkpoint_bytes: size of the file, with the optimiser's state and the moving average.
        weights_bytes: of the net alone, as it was trained.
    """

    parameters: int
    multiplications: int
    latency: Latency
    checkpoint_bytes: int
    weights_bytes: int


def measure_costs(net: nn.Module, input_u8: npt.NDArray[np.uint8], *, checkpoint: Path) -> Costs:
    """Count and time a net; a copy of it on the processor.

    Args:
        net: any network of the contract.
        input_u8: (h, w, 3) uint8, a real input: some times depend on the values.
        checkpoint: file of its weights.
    """
    measured = copy.deepcopy(net).to("cpu").float().eval()
    images = torch.from_numpy(np.ascontiguousarray(input_u8))[None]
    with torch.no_grad():
        with FlopCounterMode(display=False) as counter:
            measured.predict(images)
        latency = measure_latency(lambda: measured.predict(images))
    return Costs(
        parameters=sum(p.numel() for p in measured.parameters()),
        multiplications=counter.get_total_flops() // 2,
        latency=latency,
        checkpoint_bytes=checkpoint.stat().st_size,
        weights_bytes=sum(t.numel() * t.element_size() for t in measured.state_dict().values()),
    )
