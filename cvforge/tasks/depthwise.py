"""Depthwise convolutions that train faster on a CPU in bfloat16: their slow gradients are computed in float32.

oneDNN's bfloat16 gradients of a depthwise convolution take up to three times as long as its float32 ones: that of the weights
for kernels larger than 3, that of the input for strides above 1 (docs/results/depthwise.md). The forward pass and every
other gradient stay in bfloat16.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

SMALL_KERNEL = 3


class DepthwiseConv2d(nn.Conv2d):
    """A depthwise `nn.Conv2d` whose backward pass under CPU bfloat16 autocast takes the faster of both types.

    Same parameters, same forward result; anywhere else (evaluation, export, GPU, float32) it is `nn.Conv2d` to the bit.
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """(b, c, h', w') of (b, c, h, w)."""
        if not (self.training and input.device.type == "cpu" and _autocast_is_bfloat16() and torch.is_grad_enabled()):
            return super().forward(input)
        convolved = _MixedGradient.apply(input.bfloat16(), self.weight.bfloat16(), self.stride, self.padding)
        return convolved if self.bias is None else convolved + self.bias.bfloat16()[:, None, None]


def use_mixed_gradients(net: nn.Module) -> int:
    """Turn the depthwise convolutions of a net that gain from it into `DepthwiseConv2d`, in place.

    Returns:
        How many there are.
    """
    slow = [module for module in net.modules() if type(module) is nn.Conv2d and _gains(module)]
    for module in slow:
        # The class alone changes: parameters, their names and every reference to the module stay.
        module.__class__ = DepthwiseConv2d
    return len(slow)


class _MixedGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, stride: Any, padding: Any) -> torch.Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding = stride, padding
        return F.conv2d(x, weight, stride=stride, padding=padding, groups=x.shape[1])

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor | None, None, None]:
        (gradient,) = gradients
        x, weight = ctx.saved_tensors
        if max(ctx.stride) > 1:
            of_x, of_weight = _backward(gradient.float(), x.float(), weight.float(), ctx)
            return of_x.to(x.dtype), of_weight.to(weight.dtype), None, None
        of_x, _ = _backward(gradient, x, weight, ctx, wanted=(True, False))
        _, of_weight = _backward(gradient.float(), x.float(), weight.float(), ctx, wanted=(False, True))
        return of_x, of_weight.to(weight.dtype), None, None


def _backward(
    gradient: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, ctx: Any, *, wanted: tuple[bool, bool] = (True, True)
) -> tuple[torch.Tensor, torch.Tensor]:
    of_x, of_weight, _ = torch.ops.aten.convolution_backward(
        gradient, x, weight, None, ctx.stride, ctx.padding, (1, 1), False, (0, 0), x.shape[1], (*wanted, False)
    )
    return of_x, of_weight


def _gains(module: nn.Conv2d) -> bool:
    depthwise = module.groups == module.in_channels == module.out_channels > 1
    plain = module.dilation == (1, 1) and module.padding_mode == "zeros" and not isinstance(module.padding, str)
    return depthwise and plain and (max(module.stride) > 1 or max(module.kernel_size) > SMALL_KERNEL)


def _autocast_is_bfloat16() -> bool:
    return torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16
