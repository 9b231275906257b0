"""The contract of docs/decisions/0001 over every architecture found by listing `cvforge.models`."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from types import SimpleNamespace

import pytest
import torch
from torch import nn

import cvforge.models
from cvforge.export.embedding import WIDTH, embedding_layer, predict_with_embedding
from cvforge.losses.classification import CrossEntropy
from cvforge.losses.detection import DetectionLoss
from cvforge.losses.segmentation import SegmentationLoss

NUM_CLASSES = 3
SIZE_HW = (128, 160)
# Values for constructor parameters without a default, or with one that is too large for a test.
ARGUMENTS = {"num_classes": NUM_CLASSES, "backbone": "mobilenetv3_small_050", "size_hw": SIZE_HW}


def find_architectures() -> list[type[nn.Module]]:
    found = []
    for entry in pkgutil.iter_modules(cvforge.models.__path__):
        module = importlib.import_module(f"cvforge.models.{entry.name}")
        for _, value in inspect.getmembers(module, inspect.isclass):
            if value.__module__ == module.__name__ and issubclass(value, nn.Module) and hasattr(value, "predict"):
                found.append(value)
    return found


def build(architecture: type[nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    parameters = inspect.signature(architecture).parameters
    given = {
        name: ARGUMENTS[name]
        for name, parameter in parameters.items()
        if name in ARGUMENTS and (parameter.default is inspect.Parameter.empty or name == "size_hw")
    }
    return architecture(**given)


def random_images(batch: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (batch, *SIZE_HW, 3), dtype=torch.uint8, generator=generator)


def loss_terms(net: nn.Module, images: torch.Tensor, predicted: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The terms of the loss that belongs to what the net predicts; the last image has no object."""
    batch = len(images)
    if "probs" in predicted:
        return CrossEntropy()(net(images), torch.arange(batch) % NUM_CLASSES)
    if "logits" in predicted:
        pixels = torch.randint(0, NUM_CLASSES, (batch, *SIZE_HW), generator=torch.Generator().manual_seed(1))
        return SegmentationLoss(dice_weight=1.0)(net(images), pixels)
    boxes = torch.tensor([[10.0, 20.0, 60.0, 90.0], [70.0, 30.0, 150.0, 110.0]]).repeat(batch, 1, 1)
    class_ids = torch.tensor([[0, 2]]).repeat(batch, 1)
    boxes[-1], class_ids[-1] = 0.0, -1
    targets = SimpleNamespace(boxes_input_xyxy=boxes, class_ids=class_ids)
    return net.losses(images, targets) if hasattr(net, "losses") else DetectionLoss(NUM_CLASSES)(net(images), targets)


ARCHITECTURES = find_architectures()


def test_listing_finds_every_architecture_of_the_foundation():
    names = {architecture.__name__ for architecture in ARCHITECTURES}
    assert names >= {"TimmClassifier", "EdgeDetector", "SSDLite", "FasterRCNN", "LRASPP", "SmpSegmenter"}


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda a: a.__name__)
def test_architecture_keeps_the_contract(architecture):
    net = build(architecture).eval()
    assert isinstance(net.backbone, nn.Module)
    assert net.export_blocker is None or len(net.export_blocker) > 20
    images = random_images(2)
    with torch.no_grad():
        predicted = net.predict(images)
        alone = net.predict(images[:1])
    assert all(value.dtype == torch.float32 and len(value) == 2 for value in predicted.values())
    for role, value in predicted.items():  # the second image has no influence on the first
        torch.testing.assert_close(alone[role], value[:1], rtol=1e-3, atol=1e-3)
    check_roles(predicted)


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda a: a.__name__)
def test_what_can_be_exported_gives_an_embedding_of_each_image_alone(architecture):
    net = build(architecture).eval()
    if net.export_blocker is not None:
        assert embedding_layer(net) is None
        return
    images = random_images(2)
    with torch.no_grad():
        found = predict_with_embedding(net, images, embedding_layer(net))
        alone = predict_with_embedding(net, images[1:], embedding_layer(net))["embedding"]
        plain = net.predict(images)
    assert found["embedding"].shape == (2, WIDTH)
    assert found["embedding"].dtype == torch.float32
    assert found["embedding"].std(dim=0).max() > 0, "two images, one answer"
    torch.testing.assert_close(alone, found["embedding"][1:], rtol=1e-3, atol=1e-3)
    assert all(torch.equal(found[role], value) for role, value in plain.items())
    assert not any(module._forward_hooks for module in net.modules())


def check_roles(predicted: dict[str, torch.Tensor]) -> None:
    height, width = SIZE_HW
    if set(predicted) == {"probs"}:
        assert predicted["probs"].shape == (2, NUM_CLASSES)
        torch.testing.assert_close(predicted["probs"].sum(dim=1), torch.ones(2))
    elif set(predicted) == {"logits"}:
        _, rows, columns, classes = predicted["logits"].shape
        assert classes == NUM_CLASSES
        assert height % rows == width % columns == 0
        assert height // rows == width // columns
    else:
        assert set(predicted) == {"boxes", "scores"}
        boxes, scores = predicted["boxes"], predicted["scores"]
        assert boxes.shape == (2, scores.shape[1], 4)
        assert scores.shape[2] == NUM_CLASSES
        assert (scores >= 0).all()
        assert (scores <= 1).all()
        assert (boxes[..., :2] <= boxes[..., 2:]).all()
        assert (boxes >= 0).all()
        assert (boxes <= torch.tensor([width, height, width, height])).all()


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda a: a.__name__)
def test_every_parameter_learns_and_every_term_is_finite(architecture, precision):
    net = build(architecture)
    images = random_images(3)
    with torch.no_grad():
        predicted = net.eval().predict(images[:1])
    net.train()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16"):
        terms = loss_terms(net, images, predicted)
    assert all(term.ndim == 0 and term.dtype == torch.float32 and torch.isfinite(term) for term in terms.values())
    sum(terms.values()).backward()
    without = [name for name, parameter in net.named_parameters() if parameter.grad is None]
    assert without == []
    assert all(torch.isfinite(parameter.grad).all() for parameter in net.parameters())


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda a: a.__name__)
def test_state_dict_carries_everything_that_predictions_depend_on(architecture):
    first, images = build(architecture).eval(), random_images(1)
    torch.manual_seed(1)
    second = build(architecture)
    with torch.no_grad():
        for parameter in second.parameters():
            parameter.add_(0.1)
    second.load_state_dict(first.state_dict())
    with torch.no_grad():
        expected, found = first.predict(images), second.eval().predict(images)
    assert all(torch.equal(expected[role], found[role]) for role in expected)
