"""Our use of torchvision's networks, held against torchvision's own forward pass."""

from types import SimpleNamespace

import pytest
import torch
from torchvision.models.detection import fasterrcnn_mobilenet_v3_large_320_fpn, ssdlite320_mobilenet_v3_large
from torchvision.models.detection.image_list import ImageList
from torchvision.models.segmentation import lraspp_mobilenet_v3_large
from torchvision.ops import clip_boxes_to_image

from cvforge.errors import CheckpointError, ConfigError
from cvforge.models import torchvision_nets
from cvforge.models.faster_rcnn import FasterRCNN
from cvforge.models.lraspp import LRASPP
from cvforge.models.ssdlite import SSDLite

BOXES = torch.tensor([[[20.0, 30.0, 120.0, 200.0], [150.0, 40.0, 300.0, 300.0]], [[0.0] * 4] * 2])
CLASS_IDS = torch.tensor([[0, 2], [-1, -1]])
TARGETS = SimpleNamespace(boxes_input_xyxy=BOXES, class_ids=CLASS_IDS)


def images_of(size: int) -> torch.Tensor:
    return torch.randint(0, 256, (2, size, size, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def as_torchvision(images: torch.Tensor) -> list[torch.Tensor]:
    return [image.permute(2, 0, 1) / 255 for image in images]


def truths() -> list[dict[str, torch.Tensor]]:
    return [
        {"boxes": BOXES[0], "labels": CLASS_IDS[0] + 1},
        {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)},
    ]


def save(net: torch.nn.Module, path) -> str:
    torch.save(net.state_dict(), path)
    return str(path)


@pytest.fixture
def ssdlite_pair(tmp_path):
    torch.manual_seed(0)
    theirs = ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=4)
    return theirs, SSDLite(3, weights=save(theirs, tmp_path / "ssdlite.pth"))


def test_ssdlite_predicts_the_boxes_and_scores_that_torchvision_decodes(ssdlite_pair):
    theirs, ours = (net.eval() for net in ssdlite_pair)
    images = images_of(320)
    with torch.no_grad():
        batch, _ = theirs.transform(as_torchvision(images))
        maps = list(theirs.backbone(batch.tensors).values())
        outputs = theirs.head(maps)
        default_boxes = theirs.anchor_generator(ImageList(batch.tensors, batch.image_sizes), maps)[0]
        predicted = ours.predict(images)
    torch.testing.assert_close(predicted["scores"], outputs["cls_logits"].softmax(dim=2)[..., 1:], rtol=1e-3, atol=1e-5)
    for i in range(2):
        decoded = theirs.box_coder.decode_single(outputs["bbox_regression"][i], default_boxes)
        torch.testing.assert_close(predicted["boxes"][i], clip_boxes_to_image(decoded, (320, 320)), rtol=0, atol=0.05)


def test_ssdlite_losses_are_those_of_torchvision(ssdlite_pair):
    theirs, ours = (net.eval() for net in ssdlite_pair)
    for module in (theirs, theirs.transform):  # losses, with batch statistics left out so that both nets are alike
        module.training = True
    images = images_of(320)
    with torch.no_grad():
        expected, found = theirs(as_torchvision(images), truths()), ours.losses(images, TARGETS)
    assert set(found) == set(expected)
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-3, atol=1e-4)


def test_ssdlite_refuses_images_of_another_size_than_its_default_boxes():
    with pytest.raises(ConfigError, match=r"size_hw \[320, 320\], but the images are \[64, 64\]"):
        SSDLite(3)(images_of(64))
    with pytest.raises(ConfigError, match=r"size_hw: found \[320\]"):
        SSDLite(3, size_hw=[320])


@pytest.fixture(scope="module")
def faster_rcnn_pair(tmp_path_factory):
    torch.manual_seed(0)
    theirs = fasterrcnn_mobilenet_v3_large_320_fpn(
        weights=None, weights_backbone=None, num_classes=4, box_score_thresh=0.0, box_detections_per_img=20
    )
    path = save(theirs, tmp_path_factory.mktemp("weights") / "faster.pth")
    return theirs, FasterRCNN(3, weights=path, max_detections=20)


def test_faster_rcnn_finds_what_torchvision_finds_padded_to_a_fixed_number(faster_rcnn_pair):
    theirs, ours = (net.eval() for net in faster_rcnn_pair)
    images = images_of(320)
    with torch.no_grad():
        expected, found = theirs(as_torchvision(images)), ours.predict(images)
    assert found["boxes"].shape == (2, 20, 4)
    assert found["scores"].shape == (2, 20, 3)
    for i, one in enumerate(expected):
        count = len(one["boxes"])
        torch.testing.assert_close(found["scores"][i].amax(dim=1)[:count], one["scores"], rtol=1e-3, atol=1e-5)
        assert (found["scores"][i, count:] == 0).all()
        assert ((found["scores"][i] > 0).sum(dim=1) <= 1).all()


def test_faster_rcnn_losses_are_those_of_torchvision(faster_rcnn_pair):
    theirs, ours = (net.eval() for net in faster_rcnn_pair)
    for module in (theirs, theirs.transform, theirs.rpn, theirs.roi_heads, ours.proposals, ours.regions):
        module.training = True
    images = images_of(320)
    with torch.no_grad():
        torch.manual_seed(1)  # both draw the regions that they learn from
        expected = theirs(as_torchvision(images), truths())
        torch.manual_seed(1)
        found = ours.losses(images, TARGETS)
    assert set(found) == set(expected)
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-2, atol=1e-3)


def test_faster_rcnn_says_why_it_is_not_exported_and_which_backbones_there_are():
    assert "EdgeDetector" in FasterRCNN.export_blocker
    with pytest.raises(ConfigError, match="backbone: found 'resnet', accepted mobilenet_v3_large_320_fpn, "):
        FasterRCNN(3, backbone="resnet")


def test_lraspp_gives_the_logits_of_torchvision_before_they_are_enlarged(tmp_path):
    torch.manual_seed(0)
    theirs = lraspp_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=5).eval()
    ours = LRASPP(5, weights=save(theirs, tmp_path / "lraspp.pth")).eval()
    images = images_of(64)
    with torch.no_grad():
        logits = ours(images)
        expected = theirs(ours.normalise(images))["out"]
    assert logits.shape == (2, 5, 8, 8)
    enlarged = torch.nn.functional.interpolate(logits, size=(64, 64), mode="bilinear", align_corners=False)
    torch.testing.assert_close(enlarged, expected)


def test_weights_of_other_classes_leave_the_class_layers_random(tmp_path):
    torch.manual_seed(0)
    theirs = lraspp_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=21)
    ours = LRASPP(5, weights=save(theirs, tmp_path / "lraspp.pth"))
    assert ours.classifier.high_classifier.weight.shape[0] == 5
    assert torch.equal(ours.classifier.cbr[0].weight, theirs.classifier.cbr[0].weight)


def test_unknown_and_unreachable_weights_are_explained(monkeypatch, tmp_path):
    with pytest.raises(CheckpointError, match=r"found 'timm', accepted: null \(random\), torchvision"):
        LRASPP(5, weights="timm")

    def offline(published, **kwargs):
        raise OSError("Name or service not known")

    entry = torchvision_nets.WeightsEnum
    monkeypatch.setattr(entry, "get_state_dict", offline)
    with pytest.raises(
        CheckpointError, match=r"cannot get https://download.pytorch.org/.*lraspp.* set weights to file:PATH"
    ):
        LRASPP(5, weights="torchvision")
    torch.save({"backbone.0.0.weight": torch.zeros(16, 3, 3, 3)}, tmp_path / "part.pth")
    with pytest.raises(CheckpointError, match="missing in the file"):
        LRASPP(5, weights=str(tmp_path / "part.pth"))
