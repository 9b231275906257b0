"""The first layer of every network: bytes of an image become the numbers that its backbone was trained on."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
MAX_BYTE = 255.0


class Normalise(nn.Module):
    """Normalisation inside the graph, so training, export and device cannot disagree about it.

    Args:
        mean: per channel, red green blue, of images scaled to 0..1.
        std: per channel, like `mean`.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        mean_rgb, std_rgb = (torch.tensor(values, dtype=torch.float32).view(-1, 1, 1) for values in (mean, std))
        # (x / 255 - mean) / std as one multiplication and one addition; not saved: the constructor knows them.
        self.register_buffer("scale", 1.0 / (MAX_BYTE * std_rgb), persistent=False)
        self.register_buffer("shift", -mean_rgb / std_rgb, persistent=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Normalised images (b, 3, h, w) float32 of (b, h, w, 3) uint8 RGB.

        The result keeps the memory order of its input, which is channels_last: the fast one, and no copy. Channels come
        first before there are floats: ONNX Runtime is slow with three numbers along the last axis (a tenth of a detector).
        """
        return images.permute(0, 3, 1, 2).to(self.scale.dtype) * self.scale + self.shift
