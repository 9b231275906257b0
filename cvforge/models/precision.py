"""Full precision for the few lines that mixed precision would spoil."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch


def full_precision(device: torch.device) -> AbstractContextManager[None]:
    """A context without autocast: pixel coordinates need more than the 8 bits of a bfloat16 mantissa.

    Where autocast is off, the context is empty, so that an exported graph shows no trace of it.
    """
    if not torch.is_autocast_enabled(device.type):
        return nullcontext()
    return torch.autocast(device.type, enabled=False)
