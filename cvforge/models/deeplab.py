"""Segmentation with torchvision's DeepLabV3: dilated features and a pyramid of contexts, for servers."""

from __future__ import annotations

import torch
from torch import nn
from torchvision.models import segmentation

from cvforge.errors import ConfigError
from cvforge.models.depthwise import use_fast_depthwise
from cvforge.models.normalise import IMAGENET_MEAN, IMAGENET_STD, Normalise
from cvforge.models.torchvision_nets import load_torchvision
from cvforge_edge.types import Task

BACKBONES = {
    "mobilenet_v3_large": (
        segmentation.deeplabv3_mobilenet_v3_large,
        segmentation.DeepLabV3_MobileNet_V3_Large_Weights.COCO_WITH_VOC_LABELS_V1,
    ),
    "resnet50": (segmentation.deeplabv3_resnet50, segmentation.DeepLabV3_ResNet50_Weights.COCO_WITH_VOC_LABELS_V1),
    "resnet101": (segmentation.deeplabv3_resnet101, segmentation.DeepLabV3_ResNet101_Weights.COCO_WITH_VOC_LABELS_V1),
}


class DeepLabV3(nn.Module):
    """Logits at an eighth of the input's size (MobileNet: a sixteenth); the device enlarges them once.

    Source: Chen et al. 2017, Rethinking Atrous Convolution.

    Args:
        num_classes: number of classes.
        weights: null (random), `torchvision` (trained on COCO with the Pascal VOC classes, downloaded), or that file as
            `file:PATH`; class layers for another number of classes are left out.
        backbone: one of `BACKBONES`.

    Raises:
        ConfigError: the backbone is unknown.
        CheckpointError: the weights cannot be downloaded or read, or do not fit.
    """

    task = Task.SEGMENTATION
    export_blocker: str | None = None
    embedding_layer: str | None = "backbone"

    def __init__(self, num_classes: int, weights: str | None = None, backbone: str = "mobilenet_v3_large") -> None:
        super().__init__()
        if backbone not in BACKBONES:
            raise ConfigError(f"backbone: found {backbone!r}, accepted {', '.join(BACKBONES)}")
        build, published = BACKBONES[backbone]
        net = build(weights=None, weights_backbone=None, num_classes=num_classes, aux_loss=weights is not None)
        load_torchvision(net, weights, published=published, class_layers={"classifier.4.": 1, "aux_classifier.4.": 1})
        net.aux_classifier = None  # of training alone, and published; ours trains without
        self.normalise = Normalise(IMAGENET_MEAN, IMAGENET_STD)
        self.backbone = net.backbone
        self.classifier = net.classifier
        use_fast_depthwise(self)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits (b, c, h/s, w/s) of images (b, h, w, 3) uint8 RGB; s is 8, of MobileNet 16."""
        return self.classifier(self.backbone(self.normalise(images))["out"])

    def predict(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """`logits` (b, h/s, w/s, c) of images (b, h, w, 3) uint8 RGB."""
        return {"logits": self.forward(images).float().permute(0, 2, 3, 1)}
