"""A checkpoint as a device backend, so that it is evaluated by the very lines that judge an exported file."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from cvforge.export.embedding import predict_with_embedding


class TorchBackend:
    """Runs a network's `predict` in float32 and evaluation mode; implements `cvforge_edge.backends.Backend`.

    Args:
        net: any network of the contract; it is copied, so training can go on with the original.
        device: where to compute.
        embedding: layer whose features become the output `embedding`; None for no such output.
    """

    def __init__(self, net: nn.Module, *, device: str | torch.device = "cpu", embedding: str | None = None) -> None:
        self._embedding = embedding
        self._device = torch.device(device)
        self._net = copy.deepcopy(net).to(self._device).float().eval()

    def run(self, image_u8: npt.NDArray[np.uint8]) -> dict[str, npt.NDArray[Any]]:
        """Outputs by name, with batch axis, of one (1, h, w, 3) uint8 image."""
        with torch.inference_mode():
            images = torch.from_numpy(np.ascontiguousarray(image_u8)).to(self._device)
            outputs = predict_with_embedding(self._net, images, self._embedding)
        return {name: tensor.float().cpu().numpy() for name, tensor in outputs.items()}

    def close(self) -> None:
        """Nothing to give back; the network goes with the object."""
