"""What holds for segmentation-models-pytorch alone; the contract of all networks is in test_contract.py."""

from __future__ import annotations

import pytest
import torch

from cvforge.errors import ConfigError
from cvforge.models.smp import SmpSegmenter


def test_a_size_whose_maps_do_not_meet_is_named() -> None:
    net = SmpSegmenter(2, encoder="tu-mobilenetv3_small_050").eval()
    with torch.no_grad():
        assert net.predict(torch.zeros((1, 64, 96, 3), dtype=torch.uint8))["logits"].shape == (1, 16, 24, 2)
    with pytest.raises(
        ConfigError, match=r"preprocess.size_hw: found \[64, 90\], but SmpSegmenter needs multiples of 32"
    ):
        net.predict(torch.zeros((1, 64, 90, 3), dtype=torch.uint8))
