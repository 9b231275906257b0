"""Convolution blocks of the edge detector: cheap on a processor without a GPU, plain operators for every exporter."""

from __future__ import annotations

import torch
from torch import nn

LEAK = 0.1
"""Slope of a leaky rectifier below zero."""


class ConvNormAct(nn.Sequential):
    """Convolution, batch normalisation, ReLU6: one fused operator on the device, with a bounded range for int8.

    Args:
        leaky: end in a leaky rectifier instead, which passes a gradient everywhere.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel: int = 1,
        stride: int = 1,
        groups: int = 1,
        leaky: bool = False,
    ) -> None:
        convolution = nn.Conv2d(
            in_channels, out_channels, kernel, stride=stride, padding=kernel // 2, groups=groups, bias=False
        )
        activation = nn.LeakyReLU(LEAK, inplace=True) if leaky else nn.ReLU6(inplace=True)
        super().__init__(convolution, nn.BatchNorm2d(out_channels), activation)


class SeparableConv(nn.Sequential):
    """A depthwise convolution that looks around, then a pointwise one that mixes channels.

    Source: Howard et al. 2017, MobileNets, section 3.1.
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, kernel: int = 3, stride: int = 1, leaky: bool = False
    ) -> None:
        super().__init__(
            ConvNormAct(in_channels, in_channels, kernel=kernel, stride=stride, groups=in_channels, leaky=leaky),
            ConvNormAct(in_channels, out_channels, leaky=leaky),
        )


class Fuse(nn.Module):
    """Two feature maps of one size become one: mixed by a pointwise convolution, refined beside a shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mix = ConvNormAct(2 * channels, channels)
        self.refine = SeparableConv(channels, channels)

    def forward(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        """(b, c, h, w) of two maps (b, c, h, w)."""
        mixed = self.mix(torch.cat((first, second), dim=1))  # (b, c, h, w)
        return mixed + self.refine(mixed)
