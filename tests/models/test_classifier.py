"""The start of a classifier: undecided, or what its weights know."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from cvforge.models.classifier import TimmClassifier

BACKBONES = ("mobilenetv4_conv_small", "mobilenetv3_small_050", "resnet10t")


@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_new_classifier_finds_all_classes_about_equally_likely(backbone: str) -> None:
    torch.manual_seed(0)
    net = TimmClassifier(5, backbone).eval()
    images = torch.randint(0, 256, (4, 64, 64, 3), dtype=torch.uint8)
    with torch.inference_mode():
        probabilities = net.predict(images)["probs"]
    assert torch.allclose(probabilities, torch.full_like(probabilities, 0.2), atol=0.1)


def test_a_classifier_for_as_many_classes_keeps_the_last_layer_of_its_weights(tmp_path: Path) -> None:
    torch.manual_seed(0)
    trained = TimmClassifier(5, "mobilenetv3_small_050")
    torch.nn.init.normal_(trained.head.weight, std=3.0)
    state = {f"{name}": tensor for name, tensor in trained.backbone.state_dict().items()}
    state |= {f"classifier.{name}": tensor for name, tensor in trained.head.state_dict().items()}
    torch.save(state, tmp_path / "weights.pt")
    same = TimmClassifier(5, "mobilenetv3_small_050", weights=str(tmp_path / "weights.pt"))
    fewer = TimmClassifier(3, "mobilenetv3_small_050", weights=str(tmp_path / "weights.pt"))
    assert torch.equal(same.head.weight, trained.head.weight)
    assert fewer.head.weight.std() < 0.02
