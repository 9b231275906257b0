"""Detection with torchvision's RetinaNet on ResNet-50, as one static graph that every exporter takes."""

from __future__ import annotations

import torch
from torch import nn
from torchvision.models import detection
from torchvision.models.detection.image_list import ImageList

from cvforge.errors import ConfigError
from cvforge.models.dense_boxes import decode_centre_and_size, inside
from cvforge.models.normalise import IMAGENET_MEAN, IMAGENET_STD, Normalise
from cvforge.models.precision import full_precision
from cvforge.models.torchvision_nets import TrueBoxes, boxes_of_images, load_torchvision
from cvforge_edge.types import Task

BACKBONES = {
    "resnet50_fpn": (detection.retinanet_resnet50_fpn, detection.RetinaNet_ResNet50_FPN_Weights.COCO_V1),
    "resnet50_fpn_v2": (detection.retinanet_resnet50_fpn_v2, detection.RetinaNet_ResNet50_FPN_V2_Weights.COCO_V1),
}


class RetinaNet(nn.Module):
    """Nine anchors in every cell of five maps, trained by the focal loss; its own losses, so its config says `loss: null`.

    For a server: 34 million parameters. Source: Lin et al. 2017, Focal Loss for Dense Object Detection.

    Args:
        num_classes: number of classes, background not counted.
        weights: null (random), `torchvision` (trained on COCO, downloaded), or that file as `file:PATH`; with 80
            classes those of COCO are kept, class layers for another number are left out.
        backbone: one of `BACKBONES`.

    Raises:
        ConfigError: the backbone is unknown.
        CheckpointError: the weights cannot be downloaded or read, or do not fit.
    """

    task = Task.DETECTION
    export_blocker: str | None = None
    embedding_layer: str | None = "backbone.body.layer4"

    def __init__(self, num_classes: int, weights: str | None = None, backbone: str = "resnet50_fpn_v2") -> None:
        super().__init__()
        if backbone not in BACKBONES:
            raise ConfigError(f"backbone: found {backbone!r}, accepted {', '.join(BACKBONES)}")
        build, published = BACKBONES[backbone]
        net = build(weights=None, weights_backbone=None, num_classes=num_classes)
        load_torchvision(net, weights, published=published, class_layers={"head.classification_head.cls_logits.": 1})
        self.normalise = Normalise(IMAGENET_MEAN, IMAGENET_STD)
        self.backbone = net.backbone
        self.head = net.head
        # Not submodules: their other parts would appear twice in the state dict.
        self._anchor_generator, self._loss_terms = net.anchor_generator, net.compute_loss

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """`cls_logits` (b, n, c), `bbox_regression` (b, n, 4), and `anchors` (n, 4) x1 y1 x2 y2 in input pixels.

        Args:
            images: (b, h, w, 3) uint8 RGB.
        """
        normalised = self.normalise(images)
        maps = list(self.backbone(normalised).values())
        one = ImageList(normalised[:1], [(images.shape[1], images.shape[2])])  # all images have the same
        anchors = self._anchor_generator(one, maps)[0]
        return {**self.head(maps), "anchors": anchors}

    def losses(self, images: torch.Tensor, targets: TrueBoxes) -> dict[str, torch.Tensor]:
        """The terms `classification` and `bbox_regression`; their sum is minimised.

        Args:
            images: (b, h, w, 3) uint8 RGB.
            targets: the true boxes; an image may have none.
        """
        raw = {name: tensor.float() for name, tensor in self.forward(images).items()}
        anchors = raw.pop("anchors")
        truths = [{"boxes": boxes, "labels": class_ids} for boxes, class_ids in boxes_of_images(targets)]
        with full_precision(images.device):
            return self._loss_terms(truths, raw, [anchors] * len(truths))

    def predict(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """`boxes` (b, n, 4) x1 y1 x2 y2 inside the input and `scores` (b, n, c), for every anchor.

        Args:
            images: (b, h, w, 3) uint8 RGB.
        """
        raw = self.forward(images)
        boxes = decode_centre_and_size(raw["bbox_regression"].float(), raw["anchors"], weights=(1.0, 1.0))
        return {"boxes": inside(boxes, images), "scores": raw["cls_logits"].float().sigmoid()}
