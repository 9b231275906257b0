import torch
from torchvision.ops import box_iou, complete_box_iou

from cvforge.losses.iou import ciou, pairwise_iou


def random_boxes(count: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    top_left = torch.rand(count, 2, generator=generator) * 100
    return torch.cat((top_left, top_left + 1 + torch.rand(count, 2, generator=generator) * 80), dim=1)


def test_pairwise_iou_of_hand_made_boxes():
    first = torch.tensor([[0.0, 0.0, 10.0, 10.0], [5.0, 5.0, 5.0, 9.0]])
    second = torch.tensor([[0.0, 0.0, 10.0, 10.0], [5.0, 0.0, 15.0, 10.0], [10.0, 0.0, 20.0, 10.0]])
    expected = torch.tensor([[1.0, 1 / 3, 0.0], [0.0, 0.0, 0.0]])  # equal, half shifted, touching; an empty box
    torch.testing.assert_close(pairwise_iou(first, second), expected)


def test_pairwise_iou_agrees_with_torchvision_for_every_image_of_a_batch():
    first, second = random_boxes(12, 0).view(2, 6, 4), random_boxes(20, 1).view(2, 10, 4)
    expected = torch.stack([box_iou(a, b) for a, b in zip(first, second, strict=True)])
    torch.testing.assert_close(pairwise_iou(first, second), expected)


def test_ciou_of_pairs_agrees_with_torchvision():
    first, second = random_boxes(200, 2), random_boxes(200, 3)
    expected = complete_box_iou(first, second).diagonal()
    torch.testing.assert_close(ciou(first, second), expected, rtol=1e-4, atol=1e-5)


def test_ciou_gives_boxes_that_share_nothing_a_gradient_towards_each_other():
    box = torch.tensor([[0.0, 0.0, 10.0, 10.0]], requires_grad=True)
    (1 - ciou(box, torch.tensor([[50.0, 0.0, 60.0, 10.0]]))).sum().backward()
    assert box.grad[0, 0] + box.grad[0, 2] < 0  # descending moves the box as a whole to the right
    assert torch.isfinite(box.grad).all()


def test_gradients_of_an_empty_box_are_finite():
    box = torch.tensor([[5.0, 5.0, 5.0, 5.0]], requires_grad=True)
    (1 - ciou(box, torch.tensor([[0.0, 0.0, 10.0, 10.0]]))).sum().backward()
    assert torch.isfinite(box.grad).all()
