from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from cvforge.errors import ConfigError
from cvforge.losses.detection import DetectionLoss, distribution_focal


def raw_of(boxes: torch.Tensor, class_logits: torch.Tensor, bins: int = 4) -> dict[str, torch.Tensor]:
    batch, count = boxes.shape[:2]
    columns = torch.arange(count, dtype=torch.float32) * 10 + 5
    return {
        "boxes": boxes.requires_grad_(),
        "class_logits": class_logits.requires_grad_(),
        "distance_logits": torch.zeros(batch, count, 4, bins, requires_grad=True),
        "points": torch.stack((columns, torch.full_like(columns, 5.0)), dim=1),
        "strides": torch.full((count, 1), 10.0),
    }


def targets_of(boxes: list, class_ids: list) -> SimpleNamespace:
    return SimpleNamespace(boxes_input_xyxy=torch.tensor(boxes), class_ids=torch.tensor(class_ids))


def test_terms_of_one_point_and_one_box_by_hand():
    boxes = torch.tensor([[[0.0, 0.0, 5.0, 10.0]]])  # the left half of the true box
    terms = DetectionLoss(2, box_weight=1.0, class_weight=1.0, dfl_weight=1.0)(
        raw_of(boxes, torch.zeros(1, 1, 2)), targets_of([[[0.0, 0.0, 10.0, 10.0]]], [[1]])
    )
    # Overlap 1/2 is the target score of class 1; the sum of target scores, 0.5, is clamped to 1.
    zero = torch.zeros(2)
    expected_class = F.binary_cross_entropy_with_logits(zero, torch.tensor([0.0, 0.5]), reduction="sum")
    torch.testing.assert_close(terms["class"], expected_class)
    assert 0.5 * 0.5 < terms["box"].item() < 0.5 * 0.7  # (1 - IoU) * weight, and a little for centre and proportions
    torch.testing.assert_close(terms["distance"], torch.tensor(4.0).log() * 0.5)  # uniform over four bins


def test_weights_scale_their_terms():
    targets = targets_of([[[0.0, 0.0, 12.0, 10.0]]], [[0]])
    boxes, logits = torch.tensor([[[0.0, 0.0, 9.0, 10.0], [10.0, 0.0, 20.0, 10.0]]]), torch.zeros(1, 2, 1)
    ones = DetectionLoss(1, box_weight=1.0, class_weight=1.0, dfl_weight=1.0)(raw_of(boxes, logits), targets)
    scaled = DetectionLoss(1, box_weight=2.0, class_weight=3.0, dfl_weight=4.0)(raw_of(boxes, logits), targets)
    for name, factor in (("box", 2.0), ("class", 3.0), ("distance", 4.0)):
        torch.testing.assert_close(scaled[name], factor * ones[name])


@pytest.mark.parametrize("padded_to", [0, 2])
def test_images_without_boxes_push_scores_down_and_leave_boxes_alone(padded_to):
    raw = raw_of(torch.rand(2, 3, 4), torch.zeros(2, 3, 2))
    targets = SimpleNamespace(
        boxes_input_xyxy=torch.zeros(2, padded_to, 4), class_ids=torch.full((2, padded_to), -1, dtype=torch.int64)
    )
    terms = DetectionLoss(2)(raw, targets)
    sum(terms.values()).backward()
    assert (terms["box"].item(), terms["distance"].item()) == (0.0, 0.0)
    assert (raw["class_logits"].grad > 0).all()
    assert raw["boxes"].grad.abs().sum() == 0
    assert raw["distance_logits"].grad.abs().sum() == 0


def test_padding_changes_nothing():
    boxes, logits = torch.tensor([[[0.0, 0.0, 9.0, 10.0], [10.0, 0.0, 20.0, 10.0]]]), torch.zeros(1, 2, 1)
    plain = DetectionLoss(1)(raw_of(boxes, logits), targets_of([[[0.0, 0.0, 12.0, 10.0]]], [[0]]))
    padded = DetectionLoss(1)(
        raw_of(boxes, logits), targets_of([[[0.0, 0.0, 12.0, 10.0], [0.0, 0.0, 0.0, 0.0]]], [[0, -1]])
    )
    assert all(torch.equal(plain[name], padded[name]) for name in plain)


def test_half_precision_outputs_give_full_precision_terms_inside_autocast():
    boxes, logits = torch.tensor([[[0.0, 0.0, 9.0, 10.0]]]), torch.zeros(1, 1, 1)
    targets = targets_of([[[0.0, 0.0, 12.0, 10.0]]], [[0]])
    full = DetectionLoss(1)(raw_of(boxes, logits), targets)
    raw = raw_of(boxes, logits)
    raw["class_logits"] = raw["class_logits"].bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = DetectionLoss(1)(raw, targets)
    assert all(half[name].dtype == torch.float32 and torch.equal(half[name], full[name]) for name in full)


def test_distribution_focal_is_least_where_the_mass_lies_on_the_two_neighbours():
    distances = torch.tensor([[1.25, 0.0, 3.0, 9.0]])  # between bins, first bin, last bin, beyond the last
    probabilities = torch.tensor(
        [[[1e-9, 0.75, 0.25, 1e-9], [1.0, 1e-9, 1e-9, 1e-9], [1e-9, 1e-9, 1e-9, 1.0], [1e-9, 1e-9, 1e-9, 1.0]]]
    )
    entropy = -(0.75 * torch.tensor(0.75).log() + 0.25 * torch.tensor(0.25).log())
    torch.testing.assert_close(distribution_focal(probabilities.log(), distances), entropy[None] / 4)


def test_wrong_number_of_classes_and_wrong_weights_are_named():
    with pytest.raises(ConfigError, match="num_classes is 3, but the net scores 1"):
        DetectionLoss(3)(raw_of(torch.rand(1, 1, 4), torch.zeros(1, 1, 1)), targets_of([[[0.0, 0, 1, 1]]], [[0]]))
    with pytest.raises(ConfigError, match=r"box_weight: found -1.*top_k: found 0"):
        DetectionLoss(3, box_weight=-1.0, top_k=0)
