import torch

from cvforge.models.normalise import Normalise
from cvforge.models.timm_nets import normalise_for


def test_bytes_become_normalised_channels_first():
    images = torch.tensor([[[[0, 51, 255]], [[255, 0, 102]]]], dtype=torch.uint8)  # (1, 2, 1, 3)
    found = Normalise((0.5, 0.2, 0.0), (0.5, 0.1, 2.0))(images)
    expected = torch.tensor([[[[-1.0], [1.0]], [[0.0], [-2.0]], [[0.5], [0.2]]]])  # (1, 3, 2, 1)
    torch.testing.assert_close(found, expected)


def test_result_lies_in_channels_last_order_without_a_copy():
    found = Normalise((0.5,) * 3, (0.5,) * 3)(torch.zeros(2, 8, 6, 3, dtype=torch.uint8))
    assert found.is_contiguous(memory_format=torch.channels_last)


def test_values_come_from_the_pretrained_configuration_of_the_backbone():
    lite = normalise_for("tf_efficientnet_lite0")
    torch.testing.assert_close(lite.shift.flatten(), torch.full((3,), -1.0))
    torch.testing.assert_close(lite.scale.flatten(), torch.full((3,), 2 / 255))
    resnet = normalise_for("resnet18")
    torch.testing.assert_close(
        resnet.shift.flatten(), -torch.tensor([0.485, 0.456, 0.406]) / torch.tensor([0.229, 0.224, 0.225])
    )
