import pytest
import torch
import torch.nn.functional as F

from cvforge.errors import ConfigError
from cvforge.losses.segmentation import SegmentationLoss

LOGITS = torch.tensor([[[[2.0, -1.0]], [[0.0, 1.0]], [[0.5, 0.0]]]])  # (1, 3, 1, 2)


def test_cross_entropy_is_the_mean_over_known_pixels():
    targets = torch.tensor([[[0, 255]]])
    expected = -LOGITS[0, :, 0, 0].log_softmax(dim=0)[0]
    terms = SegmentationLoss()(LOGITS, targets)
    assert list(terms) == ["class"]
    torch.testing.assert_close(terms["class"], expected)


def test_class_weights_agree_with_torch():
    targets, weights = torch.tensor([[[0, 2]]]), [1.0, 1.0, 3.0]
    expected = F.cross_entropy(LOGITS, targets, weight=torch.tensor(weights))
    torch.testing.assert_close(SegmentationLoss(class_weights=weights)(LOGITS, targets)["class"], expected)


def test_logits_of_a_coarser_stride_are_enlarged_to_the_targets():
    coarse = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    targets = torch.randint(0, 3, (2, 16, 20), generator=torch.Generator().manual_seed(1))
    enlarged = F.interpolate(coarse, size=(16, 20), mode="bilinear", align_corners=False)
    torch.testing.assert_close(SegmentationLoss()(coarse, targets)["class"], F.cross_entropy(enlarged, targets))


def test_dice_counts_the_classes_that_occur():
    probabilities = torch.tensor([[0.7, 0.2, 0.1], [0.4, 0.5, 0.1]])  # two pixels
    logits = probabilities.log().T[None, :, None]  # (1, 3, 1, 2)
    terms = SegmentationLoss(dice_weight=2.0)(logits, torch.tensor([[[0, 1]]]))
    first, second = 1 - 2 * 0.7 / (1.1 + 1), 1 - 2 * 0.5 / (0.7 + 1)
    torch.testing.assert_close(terms["dice"], torch.tensor(2.0 * (first + second) / 2))


@pytest.mark.parametrize("class_weights", [None, [1.0, 2.0, 3.0]])
def test_void_alone_gives_zero_and_no_gradient(class_weights):
    logits = LOGITS.clone().requires_grad_()
    terms = SegmentationLoss(dice_weight=1.0, class_weights=class_weights)(logits, torch.full((1, 1, 2), 255))
    sum(terms.values()).backward()
    assert [term.item() for term in terms.values()] == [0.0, 0.0]
    assert logits.grad.abs().sum() == 0


def test_wrong_weights_are_named():
    with pytest.raises(ConfigError, match="dice_weight: found -1"):
        SegmentationLoss(dice_weight=-1.0)
    with pytest.raises(ConfigError, match="2 weights, but the net scores 3 classes"):
        SegmentationLoss(class_weights=[1.0, 2.0])(LOGITS, torch.tensor([[[0, 1]]]))
    with pytest.raises(ConfigError, match="class_weights"):
        SegmentationLoss(class_weights=[0.0, 0.0])
