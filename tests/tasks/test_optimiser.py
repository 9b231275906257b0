"""Groups of weights and the course of the learning rate."""

from __future__ import annotations

import math

import pytest
import torch

from cvforge.config.schema import OptimSection
from cvforge.errors import ConfigError
from cvforge.tasks.optimiser import build_optimiser, learning_rate_factor
from tiny_run import TinyNet


def test_weights_are_grouped_by_backbone_and_decay() -> None:
    optim = OptimSection(lr=0.1, backbone_lr_factor=0.2, weight_decay=0.05)
    groups = build_optimiser(TinyNet(), optim).param_groups
    found = {g["name"]: (g["lr"], g["weight_decay"], sum(p.numel() for p in g["params"])) for g in groups}
    assert found == {
        "backbone/decayed": (pytest.approx(0.02), 0.05, 4 * 3 * 9),
        "backbone/undecayed": (pytest.approx(0.02), 0.0, 4 + 4 + 4),
        "rest/decayed": (0.1, 0.05, 4 * 3),
        "rest/undecayed": (0.1, 0.0, 3),
    }


def test_frozen_weights_are_left_out() -> None:
    net = TinyNet()
    net.backbone.requires_grad_(False)
    assert [g["name"] for g in build_optimiser(net, OptimSection()).param_groups] == ["rest/decayed", "rest/undecayed"]


def test_a_net_without_trainable_weights_is_refused() -> None:
    with pytest.raises(ConfigError, match="the model has no trainable weight"):
        build_optimiser(TinyNet().requires_grad_(False), OptimSection())


def test_sgd_is_built_with_its_momentum() -> None:
    optimiser = build_optimiser(TinyNet(), OptimSection(name="sgd", momentum=0.8))
    assert isinstance(optimiser, torch.optim.SGD)
    assert (optimiser.defaults["momentum"], optimiser.defaults["nesterov"]) == (0.8, True)


@pytest.mark.parametrize("section", [OptimSection(name="adam"), OptimSection(schedule="linear")])
def test_unknown_names_are_refused_with_the_known_ones(section: OptimSection) -> None:
    with pytest.raises(ConfigError, match="accepted (adamw, sgd|cosine, constant)"):
        build_optimiser(TinyNet(), section)
        learning_rate_factor(section, steps_per_epoch=1, total_steps=2)


def test_the_rate_rises_linearly_and_falls_along_half_a_cosine() -> None:
    factor = learning_rate_factor(OptimSection(warmup_epochs=0.5, min_lr_factor=0.1), steps_per_epoch=8, total_steps=25)
    assert [factor(step) for step in range(5)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert factor(14) == pytest.approx(0.1 + 0.9 * 0.5)  # half of the way from step 4 to step 24
    assert factor(9) == pytest.approx(0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi / 4)))
    assert factor(24) == pytest.approx(0.1)
    assert factor(99) == pytest.approx(0.1)


def test_a_constant_rate_stays_at_its_peak() -> None:
    factor = learning_rate_factor(OptimSection(schedule="constant", warmup_epochs=0), steps_per_epoch=5, total_steps=20)
    assert {factor(step) for step in range(20)} == {1.0}
