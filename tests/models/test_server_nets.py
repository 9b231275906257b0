"""RetinaNet, FCOS and DeepLabV3, and COCO's classes out of published weights, held against torchvision's own forward pass."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torchvision.models import detection, segmentation
from torchvision.ops import nms

from cvforge.errors import ConfigError
from cvforge.models.deeplab import DeepLabV3
from cvforge.models.faster_rcnn import FasterRCNN
from cvforge.models.fcos import FCOS
from cvforge.models.retinanet import RetinaNet
from cvforge.models.ssdlite import SSDLite

SIZE = 128
BOXES = torch.tensor([[[10.0, 12.0, 60.0, 90.0], [70.0, 20.0, 120.0, 120.0]], [[0.0] * 4] * 2])
CLASS_IDS = torch.tensor([[0, 2], [-1, -1]])
TARGETS = SimpleNamespace(boxes_input_xyxy=BOXES, class_ids=CLASS_IDS)
UNCHANGED = {"min_size": SIZE, "max_size": SIZE}  # their own resizing, out of the way
BUILDERS = {
    "retinanet": (detection.retinanet_resnet50_fpn, lambda path: RetinaNet(3, weights=path, backbone="resnet50_fpn")),
    "retinanet v2": (detection.retinanet_resnet50_fpn_v2, lambda path: RetinaNet(3, weights=path)),
    "fcos": (detection.fcos_resnet50_fpn, lambda path: FCOS(3, weights=path)),
}


def images_of(size: int) -> torch.Tensor:
    return torch.randint(0, 256, (2, size, size, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def as_torchvision(images: torch.Tensor) -> list[torch.Tensor]:
    return [image.permute(2, 0, 1) / 255 for image in images]


def save(net: nn.Module, path) -> str:
    torch.save(net.state_dict(), path)
    return str(path)


@pytest.fixture(params=BUILDERS)
def pair(request, tmp_path):
    """Their net and ours with the same weights, whose class scores are spread: random heads say the same everywhere."""
    build, ours = BUILDERS[request.param]
    torch.manual_seed(0)
    theirs = build(
        weights=None, weights_backbone=None, num_classes=3, score_thresh=0.0, detections_per_img=20, **UNCHANGED
    )
    nn.init.normal_(theirs.head.classification_head.cls_logits.weight, std=0.2)
    return theirs, ours(save(theirs, tmp_path / "net.pth"))


def test_dense_nets_score_what_torchvision_finds(pair):
    theirs, ours = (net.eval() for net in pair)
    images = images_of(SIZE)
    with torch.no_grad():
        expected, found = theirs(as_torchvision(images)), ours.predict(images)
    for i, one in enumerate(expected):
        assert len(one["boxes"]) == 20
        for box, score, label in zip(one["boxes"], one["scores"], one["labels"], strict=True):
            away = (found["boxes"][i] - box).abs().amax(dim=1) + 100 * (found["scores"][i][:, label] - score).abs()
            assert away.min() < 0.05
        # and nothing better is left out: each of their objects is the first of its surroundings among ours
        scores, labels = found["scores"][i].max(dim=1)
        kept = nms(found["boxes"][i] + 1000.0 * labels[:, None], scores, theirs.nms_thresh)
        torch.testing.assert_close(scores[kept[:1]], one["scores"][:1], rtol=1e-3, atol=1e-4)


def test_dense_nets_have_the_losses_of_torchvision(pair):
    theirs, ours = (net.eval() for net in pair)
    for module in (theirs, theirs.transform):  # losses, with batch statistics left out so that both nets are alike
        module.training = True
    images = images_of(SIZE)
    truths = [
        {"boxes": BOXES[0], "labels": CLASS_IDS[0]},
        {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)},
    ]
    with torch.no_grad():
        expected, found = theirs(as_torchvision(images), truths), ours.losses(images, TARGETS)
    assert set(found) == set(expected)
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("backbone", ["mobilenet_v3_large", "resnet50"])
def test_deeplab_gives_the_logits_of_torchvision_before_they_are_enlarged(backbone, tmp_path):
    torch.manual_seed(0)
    build = getattr(segmentation, f"deeplabv3_{backbone}")
    theirs = build(weights=None, weights_backbone=None, num_classes=5, aux_loss=True).eval()
    ours = DeepLabV3(5, weights=save(theirs, tmp_path / "deeplab.pth"), backbone=backbone).eval()
    images = images_of(64)
    with torch.no_grad():
        logits, expected = ours(images), theirs(ours.normalise(images))["out"]
    assert logits.shape[:2] == (2, 5)
    enlarged = nn.functional.interpolate(logits, size=(64, 64), mode="bilinear", align_corners=False)
    torch.testing.assert_close(enlarged, expected)
    assert not any(name.startswith("aux_") for name in ours.state_dict())


COCO_NUMBERS = [
    i for i, name in enumerate(detection.FCOS_ResNet50_FPN_Weights.COCO_V1.meta["categories"]) if i and name != "N/A"
]


def test_a_net_of_eighty_classes_gets_those_of_coco_from_published_weights(tmp_path):
    torch.manual_seed(0)
    assert len(COCO_NUMBERS) == 80
    images = images_of(64)
    published = detection.fcos_resnet50_fpn(weights=None, weights_backbone=None, num_classes=91)
    nn.init.normal_(published.head.classification_head.cls_logits.weight, std=0.2)
    path = save(published, tmp_path / "fcos.pth")
    with torch.no_grad():
        whole, ours = FCOS(91, weights=path).eval().predict(images), FCOS(80, weights=path).eval().predict(images)
    torch.testing.assert_close(ours["boxes"], whole["boxes"])
    torch.testing.assert_close(ours["scores"], whole["scores"][..., COCO_NUMBERS])
    assert FCOS(7, weights=path).head.classification_head.cls_logits.weight.shape[0] == 7


def test_nets_with_anchors_and_background_get_the_rows_of_their_classes(tmp_path):
    torch.manual_seed(0)
    images = images_of(320)
    published = detection.ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=91).eval()
    ours = SSDLite(80, weights=save(published, tmp_path / "ssd.pth")).eval()
    with torch.no_grad():
        batch, _ = published.transform(as_torchvision(images))
        theirs = published.head(list(published.backbone(batch.tensors).values()))["cls_logits"]
        logits = ours(images)["cls_logits"]
    torch.testing.assert_close(logits, theirs[..., [0, *COCO_NUMBERS]], rtol=1e-3, atol=1e-3)

    published = detection.fasterrcnn_mobilenet_v3_large_320_fpn(weights=None, weights_backbone=None, num_classes=91)
    regions = FasterRCNN(80, weights=save(published, tmp_path / "faster.pth")).regions.box_predictor
    theirs = published.roi_heads.box_predictor
    features = torch.randn(2, 1024)
    with torch.no_grad():
        scores, boxes = regions(features)
        their_scores, their_boxes = theirs(features)
    torch.testing.assert_close(scores, their_scores[:, [0, *COCO_NUMBERS]])
    wanted = their_boxes.unflatten(1, (91, 4))[:, [0, *COCO_NUMBERS]]
    torch.testing.assert_close(boxes.unflatten(1, (81, 4)), wanted)


def test_unknown_backbones_are_refused_with_those_that_there_are():
    with pytest.raises(ConfigError, match="found 'resnet18', accepted resnet50_fpn, resnet50_fpn_v2"):
        RetinaNet(3, backbone="resnet18")
    with pytest.raises(ConfigError, match="found 'resnet18', accepted mobilenet_v3_large, resnet50, resnet101"):
        DeepLabV3(3, backbone="resnet18")
