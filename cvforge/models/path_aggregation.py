"""The neck of the edge detector: coarse and fine feature maps tell each other what they see."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from cvforge.models.layers import ConvNormAct, Fuse, SeparableConv


class PathAggregation(nn.Module):
    """A feature pyramid with a second, bottom-up path, built of depthwise-separable convolutions.

    Source: Liu et al. 2018, Path Aggregation Network, section 3.1; the light form follows Yu et al. 2021, PP-PicoDet.

    Args:
        in_channels: channels of the backbone's maps, highest resolution first; each map half the size of the former.
        channels: channels of every map that it gives.
    """

    def __init__(self, in_channels: Sequence[int], channels: int) -> None:
        super().__init__()
        steps = range(len(in_channels) - 1)
        self.reduce = nn.ModuleList(ConvNormAct(count, channels) for count in in_channels)
        self.top_down = nn.ModuleList(Fuse(channels) for _ in steps)
        self.shrink = nn.ModuleList(SeparableConv(channels, channels, stride=2) for _ in steps)
        self.bottom_up = nn.ModuleList(Fuse(channels) for _ in steps)

    def forward(self, maps: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """One (b, channels, h/s, w/s) map for each (b, in_channels, h/s, w/s) map of the backbone."""
        reduced = [layer(x) for layer, x in zip(self.reduce, maps, strict=True)]
        fine = [reduced[-1]]
        for fuse, lateral in zip(self.top_down, reversed(reduced[:-1]), strict=True):
            # By size, not by factor: maps of an odd size round up, and the coarser one may be more than half of it.
            enlarged = F.interpolate(fine[0], size=lateral.shape[-2:], mode="nearest")
            fine.insert(0, fuse(lateral, enlarged))
        coarse = [fine[0]]
        for shrink, fuse, lateral in zip(self.shrink, self.bottom_up, fine[1:], strict=True):
            coarse.append(fuse(shrink(coarse[-1]), lateral))
        return coarse
