"""The edge detector: decoding, prior, sizes, learning, export."""

from types import SimpleNamespace

import pytest
import torch

from cvforge.errors import ConfigError
from cvforge.losses.detection import DetectionLoss
from cvforge.losses.iou import pairwise_iou
from cvforge.models.edge_detector import EdgeDetector

SMALL = "mobilenetv3_small_050"
COLOURS = torch.tensor([[220, 40, 40], [40, 220, 40], [40, 40, 220]], dtype=torch.uint8)


def random_images(batch: int, size_hw: tuple[int, int]) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (batch, *size_hw, 3), dtype=torch.uint8, generator=generator)


def rectangles(batch: int, size: int) -> tuple[torch.Tensor, SimpleNamespace]:
    """Grey images with 0 to 3 coloured rectangles; the colour is the class."""
    generator = torch.Generator().manual_seed(1)
    images = torch.full((batch, size, size, 3), 114, dtype=torch.uint8)
    boxes, class_ids = torch.zeros(batch, 3, 4), torch.full((batch, 3), -1)
    for i in range(batch):
        for j in range(min(i, 3)):
            width, height = torch.randint(size // 8, size // 2, (2,), generator=generator).tolist()
            x = int(torch.randint(0, size - width, (1,), generator=generator))
            y = int(torch.randint(0, size - height, (1,), generator=generator))
            images[i, y : y + height, x : x + width] = COLOURS[j]
            boxes[i, j], class_ids[i, j] = torch.tensor([x, y, x + width, y + height]), j
    return images, SimpleNamespace(boxes_input_xyxy=boxes, class_ids=class_ids)


@pytest.fixture(scope="module")
def net() -> EdgeDetector:
    torch.manual_seed(0)
    return EdgeDetector(3, SMALL).eval()


def test_points_are_the_centres_of_all_cells(net):
    with torch.no_grad():
        raw = net(random_images(1, (64, 96)))
    assert raw["points"].shape == (8 * 12 + 4 * 6 + 2 * 3, 2)
    assert raw["points"][[0, 1, 12, 96, 120, -1]].tolist() == [[4, 4], [12, 4], [4, 12], [8, 8], [16, 16], [80, 48]]
    assert raw["strides"][[0, 95, 96, 119, 120, 125], 0].tolist() == [8, 8, 16, 16, 32, 32]


def test_distances_are_means_of_their_distributions_in_strides(net):
    logits = torch.full((1, 2, 4, 16), -100.0)
    for side, distance in enumerate((1, 2, 3, 4)):
        logits[0, 0, side, distance] = 0.0
    logits[0, 1, :, 2] = logits[0, 1, :, 3] = 0.0  # half of the mass on each: 2.5 strides
    boxes = net._boxes(logits, torch.tensor([[100.0, 200.0], [50.0, 50.0]]), torch.tensor([[8.0], [16.0]]))
    expected = torch.tensor([[[92.0, 184.0, 124.0, 232.0], [10.0, 10.0, 90.0, 90.0]]])
    torch.testing.assert_close(boxes, expected, rtol=0, atol=1e-4)


def test_mixed_precision_leaves_boxes_exact(net):
    with torch.no_grad():
        raw = net(random_images(1, (64, 64)))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            boxes = net._boxes(raw["distance_logits"], raw["points"], raw["strides"])
    torch.testing.assert_close(boxes, raw["boxes"], rtol=0, atol=0)


def test_untrained_scores_are_the_prior(net):
    with torch.no_grad():
        scores = net.predict(random_images(2, (128, 128)))["scores"]
    torch.testing.assert_close(scores, torch.full_like(scores, 0.01), rtol=0.2, atol=0)


def test_boxes_stay_inside_a_frame_of_odd_size(net):
    with torch.no_grad():
        predicted = net.predict(random_images(1, (100, 76)))
    assert predicted["boxes"].shape == (1, 13 * 10 + 7 * 5 + 4 * 3, 4)
    assert predicted["boxes"].amin() >= 0
    assert predicted["boxes"][..., 0::2].max() <= 76
    assert predicted["boxes"][..., 1::2].max() <= 100


@pytest.mark.parametrize("backbone", ["mobilenetv4_conv_small", "tf_efficientnet_lite0"])
def test_neck_and_head_stay_small(backbone):
    net = EdgeDetector(80, backbone)
    own = sum(p.numel() for p in net.parameters()) - sum(p.numel() for p in net.backbone.parameters())
    assert own < 1_500_000


def test_only_the_coarse_maps_may_be_used():
    net = EdgeDetector(3, SMALL, strides=[16, 32]).eval()
    with torch.no_grad():
        assert net.predict(random_images(1, (64, 64)))["scores"].shape == (1, 16 + 4, 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_classes": 0}, "num_classes: found 0, expected at least 1"),
        ({"reg_max": 0, "head_depth": -1}, "reg_max: found 0.*head_depth: found -1"),
        ({"strides": []}, "strides: found"),
        ({"strides": [8, 32]}, r"strides: found \[8, 32\], expected one or more, each twice the former"),
        ({"strides": [32, 64]}, r"no single feature map of stride \[64\]"),
    ],
)
def test_wrong_numbers_are_named(arguments, message):
    with pytest.raises(ConfigError, match=message):
        EdgeDetector(**{"num_classes": 3, "backbone": SMALL, **arguments})


def train(net: EdgeDetector, images: torch.Tensor, targets: SimpleNamespace, *, steps: int) -> float:
    loss, optimiser = DetectionLoss(3), torch.optim.AdamW(net.parameters(), lr=3e-3)
    net.train()
    for _ in range(steps):
        total = sum(loss(net(images), targets).values())
        optimiser.zero_grad()
        total.backward()
        optimiser.step()
    return float(total.detach())


def test_detector_learns_the_rectangles_of_one_batch():
    torch.manual_seed(0)
    net = EdgeDetector(3, SMALL, neck_channels=64).to(memory_format=torch.channels_last)
    images, targets = rectangles(4, 128)
    train(net, images, targets, steps=80)
    with torch.no_grad():
        predicted = net.eval().predict(images)
    truth = targets.class_ids >= 0
    assert truth.sum() == 6
    for i, j in truth.nonzero().tolist():
        best = predicted["scores"][i, :, j].argmax()
        overlap = pairwise_iou(targets.boxes_input_xyxy[i, j][None], predicted["boxes"][i, best][None])
        assert overlap.item() > 0.8
        assert predicted["scores"][i, best, j] > 0.5
    absent = [predicted["scores"][i, :, j].max() for i, j in (~truth).nonzero().tolist()]
    assert max(absent) < 0.3


def test_training_repeats_bit_for_bit():
    images, targets = rectangles(4, 64)

    def run() -> float:
        torch.manual_seed(0)
        return train(EdgeDetector(3, SMALL, neck_channels=16), images, targets, steps=3)

    assert run() == run()
