"""Fast gradients of depthwise convolutions, held against torch's own."""

import copy

import pytest
import timm
import torch
from timm.layers.conv2d_same import Conv2dSame
from torch import nn

from cvforge.models.depthwise import DepthwiseConv2d, DepthwiseConv2dSame, use_fast_depthwise


def gradients(layer: nn.Module, x: torch.Tensor, *, autocast: bool) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    x = x.clone().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        y = layer(x)
    weights = torch.linspace(-1, 1, y.numel()).view_as(y)
    (y.float() * weights).sum().backward()
    found = y.detach().float(), x.grad, layer.weight.grad.clone()
    layer.zero_grad()
    return found


@pytest.mark.parametrize("size_hw", [(16, 16), (15, 18)])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("kind", [nn.Conv2d, Conv2dSame])
def test_gradients_agree_with_full_precision(kind, kernel, stride, size_hw):
    torch.manual_seed(0)
    padding = 0 if kind is Conv2dSame else kernel // 2
    reference = kind(6, 6, kernel, stride=stride, padding=padding, groups=6, bias=True)
    fast = copy.deepcopy(reference)
    use_fast_depthwise(fast)
    assert type(fast) in (DepthwiseConv2d, DepthwiseConv2dSame)
    x = torch.randn(4, 6, *size_hw).contiguous(memory_format=torch.channels_last)
    expected, found = gradients(reference, x, autocast=False), gradients(fast, x, autocast=True)
    for wanted, value in zip(expected, found, strict=True):
        assert value.dtype == torch.float32
        assert (value - wanted).abs().max() < 0.02 * wanted.abs().max()  # 8 bits of mantissa, summed


def test_other_convolutions_and_the_state_dict_stay_as_they_are():
    net = timm.create_model("tf_efficientnet_lite0", features_only=True)
    before = list(net.state_dict())
    use_fast_depthwise(net)
    kinds = [type(module) for module in net.modules() if isinstance(module, nn.Conv2d)]
    assert kinds.count(DepthwiseConv2d) + kinds.count(DepthwiseConv2dSame) == 16
    assert kinds.count(nn.Conv2d) + kinds.count(Conv2dSame) == len(kinds) - 16
    assert list(net.state_dict()) == before


def test_evaluation_and_full_precision_take_the_ordinary_path(monkeypatch):
    layer = nn.Conv2d(4, 4, 3, padding=1, groups=4)
    use_fast_depthwise(layer)

    def refuse(*arguments, **named):
        raise AssertionError("fast path")

    monkeypatch.setattr("cvforge.models.depthwise._convolve", refuse)
    x = torch.randn(1, 4, 8, 8)
    layer(x)
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.no_grad():
        layer.eval()(x)
        with pytest.raises(AssertionError, match="fast path"):
            layer.train()(x)


def test_dilated_and_grouped_convolutions_are_left_alone():
    layers = nn.ModuleList(
        [nn.Conv2d(4, 4, 3, dilation=2, groups=4), nn.Conv2d(4, 8, 3, groups=4), nn.Conv2d(4, 4, 3, groups=2)]
    )
    use_fast_depthwise(layers)
    assert [type(layer) for layer in layers] == [nn.Conv2d] * 3
