"""Detection with torchvision's FCOS on ResNet-50: no anchors, one static graph that every exporter takes."""

from __future__ import annotations

import torch
from torch import nn
from torchvision.models import detection
from torchvision.models.detection.image_list import ImageList

from cvforge.models.dense_boxes import decode_distances, inside
from cvforge.models.normalise import IMAGENET_MEAN, IMAGENET_STD, Normalise
from cvforge.models.precision import full_precision
from cvforge.models.torchvision_nets import TrueBoxes, boxes_of_images, load_torchvision
from cvforge_edge.types import Task


class FCOS(nn.Module):
    """Every cell of five maps says which object it lies on and how far its sides are; its config says `loss: null`.

    For a server: 32 million parameters. A score is the geometric mean of class score and centredness.
    Source: Tian et al. 2019, FCOS.

    Args:
        num_classes: number of classes, background not counted.
        weights: null (random), `torchvision` (trained on COCO, downloaded), or that file as `file:PATH`; with 80
            classes those of COCO are kept, class layers for another number are left out.

    Raises:
        CheckpointError: the weights cannot be downloaded or read, or do not fit.
    """

    task = Task.DETECTION
    export_blocker: str | None = None
    embedding_layer: str | None = "backbone.body.layer4"

    def __init__(self, num_classes: int, weights: str | None = None) -> None:
        super().__init__()
        net = detection.fcos_resnet50_fpn(weights=None, weights_backbone=None, num_classes=num_classes)
        published = detection.FCOS_ResNet50_FPN_Weights.COCO_V1
        load_torchvision(net, weights, published=published, class_layers={"head.classification_head.cls_logits.": 1})
        self.normalise = Normalise(IMAGENET_MEAN, IMAGENET_STD)
        self.backbone = net.backbone
        self.head = net.head
        # Not submodules: their other parts would appear twice in the state dict.
        self._cells, self._loss_terms = net.anchor_generator, net.compute_loss

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """What the head says of all n cells of all maps.

        Args:
            images: (b, h, w, 3) uint8 RGB.

        Returns:
            `cls_logits` (b, n, c), `bbox_regression` (b, n, 4), `bbox_ctrness` (b, n, 1), and `cells` (n, 4) x1 y1 x2 y2 in
            input pixels, map by map.
        """
        return self._outputs(images)[0]

    def losses(self, images: torch.Tensor, targets: TrueBoxes) -> dict[str, torch.Tensor]:
        """The terms `classification`, `bbox_regression` and `bbox_ctrness`; their sum is minimised.

        Args:
            images: (b, h, w, 3) uint8 RGB.
            targets: the true boxes; an image may have none.
        """
        raw, cells_a_map = self._outputs(images)
        raw = {name: tensor.float() for name, tensor in raw.items()}
        cells = raw.pop("cells")
        truths = [{"boxes": boxes, "labels": class_ids} for boxes, class_ids in boxes_of_images(targets)]
        with full_precision(images.device):
            return self._loss_terms(truths, raw, [cells] * len(truths), cells_a_map)

    def predict(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """`boxes` (b, n, 4) x1 y1 x2 y2 inside the input and `scores` (b, n, c), for every cell.

        Args:
            images: (b, h, w, 3) uint8 RGB.
        """
        raw = self.forward(images)
        boxes = decode_distances(raw["bbox_regression"].float(), raw["cells"])
        scores = raw["cls_logits"].float().sigmoid() * raw["bbox_ctrness"].float().sigmoid()  # (b, n, c)
        return {"boxes": inside(boxes, images), "scores": scores.sqrt()}

    def _outputs(self, images: torch.Tensor) -> tuple[dict[str, torch.Tensor], list[int]]:
        normalised = self.normalise(images)
        maps = list(self.backbone(normalised).values())
        one = ImageList(normalised[:1], [(images.shape[1], images.shape[2])])  # all images have the same
        cells = self._cells(one, maps)[0]
        return {**self.head(maps), "cells": cells}, [x.shape[2] * x.shape[3] for x in maps]
