"""Segmentation with torchvision's LR-ASPP on MobileNetV3: the lightest of its segmentation nets."""

from __future__ import annotations

import torch
from torch import nn
from torchvision.models.segmentation import LRASPP_MobileNet_V3_Large_Weights, lraspp_mobilenet_v3_large

from cvforge.models.depthwise import use_fast_depthwise
from cvforge.models.normalise import IMAGENET_MEAN, IMAGENET_STD, Normalise
from cvforge.models.torchvision_nets import load_torchvision
from cvforge_edge.types import Task


class LRASPP(nn.Module):
    """Logits at an eighth of the input's size; the device enlarges them once.

    Source: Howard et al. 2019, Searching for MobileNetV3, section 6.4.

    Args:
        num_classes: number of classes.
        weights: null (random), `torchvision` (trained on COCO with the Pascal VOC classes, downloaded), or that file as
            `file:PATH`; class layers for another number of classes are left out.

    Raises:
        CheckpointError: the weights cannot be downloaded or read, or do not fit.
    """

    task = Task.SEGMENTATION
    export_blocker: str | None = None
    embedding_layer: str | None = "backbone"

    def __init__(self, num_classes: int, weights: str | None = None) -> None:
        super().__init__()
        net = lraspp_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=num_classes)
        load_torchvision(
            net,
            weights,
            published=LRASPP_MobileNet_V3_Large_Weights.COCO_WITH_VOC_LABELS_V1,
            class_layers={"classifier.low_classifier.": 1, "classifier.high_classifier.": 1},
        )
        self.normalise = Normalise(IMAGENET_MEAN, IMAGENET_STD)
        self.backbone = net.backbone
        self.classifier = net.classifier
        use_fast_depthwise(self)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits (b, c, h/8, w/8) of images (b, h, w, 3) uint8 RGB."""
        features = self.backbone(self.normalise(images))  # low (b, 40, h/8, w/8), high (b, 960, h/16, w/16)
        return self.classifier(features)  # (b, c, h/8, w/8)

    def predict(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """`logits` (b, h/8, w/8, c) of images (b, h, w, 3) uint8 RGB."""
        return {"logits": self.forward(images).float().permute(0, 2, 3, 1)}
