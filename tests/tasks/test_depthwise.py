from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from cvforge.tasks.depthwise import DepthwiseConv2d, use_mixed_gradients


def _net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 1),
        nn.Conv2d(8, 8, 5, padding=2, groups=8),
        nn.Conv2d(8, 8, 3, stride=2, padding=1, groups=8, bias=False),
        nn.Conv2d(8, 8, 3, padding=1, groups=8),
        nn.Conv2d(8, 4, 3, groups=4),
    )


def test_only_depthwise_layers_that_gain_are_turned() -> None:
    net = _net()
    assert use_mixed_gradients(net) == 2
    assert [type(layer) is DepthwiseConv2d for layer in net] == [False, True, True, False, False]


def test_state_dict_keeps_its_names() -> None:
    net = _net()
    names = list(net.state_dict())
    use_mixed_gradients(net)
    assert list(net.state_dict()) == names


def test_gradients_are_closer_to_float32_than_plain_bfloat16_ones() -> None:
    plain, mixed, exact = _net()[1:3], copy.deepcopy(_net()[1:3]), copy.deepcopy(_net()[1:3])
    use_mixed_gradients(mixed)
    x = torch.randn(2, 8, 32, 32)
    for net, bfloat16 in ((plain, True), (mixed, True), (exact, False)):
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            net(x).float().square().sum().backward()

    def error(net: nn.Module) -> float:
        pairs = zip(net.parameters(), exact.parameters(), strict=True)
        return sum(float((a.grad - b.grad).norm() / b.grad.norm()) for a, b in pairs if a.grad is not None)

    assert 0.0 < error(mixed) < min(0.1, 1.05 * error(plain))


def test_forward_under_autocast_equals_plain_bfloat16() -> None:
    plain, mixed = _net()[1:3], copy.deepcopy(_net()[1:3])
    use_mixed_gradients(mixed)
    x = torch.randn(2, 8, 16, 16)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(mixed(x), plain(x), rtol=0.02, atol=0.02)


@pytest.mark.parametrize("training", [True, False])
def test_without_autocast_nothing_changes(training: bool) -> None:
    plain, mixed = _net().train(training), copy.deepcopy(_net()).train(training)
    use_mixed_gradients(mixed)
    x = torch.randn(2, 3, 16, 16)
    assert torch.equal(mixed(x), plain(x))
