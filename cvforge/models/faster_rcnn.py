"""Detection with torchvision's Faster R-CNN: two stages, for a server or as a reference, not for export."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn
from torchvision.models import detection
from torchvision.models.detection.image_list import ImageList

from cvforge.errors import ConfigError
from cvforge.models.normalise import IMAGENET_MEAN, IMAGENET_STD, Normalise
from cvforge.models.precision import full_precision
from cvforge.models.torchvision_nets import TrueBoxes, boxes_of_images, load_torchvision
from cvforge_edge.types import Task

BACKBONES = {
    "mobilenet_v3_large_320_fpn": (
        detection.fasterrcnn_mobilenet_v3_large_320_fpn,
        detection.FasterRCNN_MobileNet_V3_Large_320_FPN_Weights.COCO_V1,
    ),
    "mobilenet_v3_large_fpn": (
        detection.fasterrcnn_mobilenet_v3_large_fpn,
        detection.FasterRCNN_MobileNet_V3_Large_FPN_Weights.COCO_V1,
    ),
    "resnet50_fpn": (detection.fasterrcnn_resnet50_fpn, detection.FasterRCNN_ResNet50_FPN_Weights.COCO_V1),
    "resnet50_fpn_v2": (detection.fasterrcnn_resnet50_fpn_v2, detection.FasterRCNN_ResNet50_FPN_V2_Weights.COCO_V1),
}
CLASS_LAYERS = {"roi_heads.box_predictor.cls_score.": 1, "roi_heads.box_predictor.bbox_pred.": 4}


class FasterRCNN(nn.Module):
    """Proposals, then a classifier on each; it computes its own losses, so its config says `loss: null`.

    Source: Ren et al. 2015, Faster R-CNN.

    Args:
        num_classes: number of classes, background not counted.
        weights: null (random), `torchvision` (trained on COCO, downloaded), or that file as `file:PATH`; with 80
            classes those of COCO are kept, class layers for another number are left out.
        backbone: one of `BACKBONES`.
        max_detections: boxes that `predict` gives for every image, the missing ones with score 0.

    Raises:
        ConfigError: the backbone is unknown, or a number is out of range.
        CheckpointError: the weights cannot be downloaded or read, or do not fit.
    """

    task = Task.DETECTION
    export_blocker: str | None = (
        "Faster R-CNN cuts regions out at positions that depend on the image, which has no static graph; "
        "choose cvforge.models.edge_detector.EdgeDetector or cvforge.models.ssdlite.SSDLite for export"
    )

    def __init__(
        self,
        num_classes: int,
        weights: str | None = None,
        backbone: str = "mobilenet_v3_large_320_fpn",
        max_detections: int = 100,
    ) -> None:
        super().__init__()
        if backbone not in BACKBONES:
            raise ConfigError(f"backbone: found {backbone!r}, accepted {', '.join(BACKBONES)}")
        if max_detections < 1:
            raise ConfigError(f"max_detections: found {max_detections}, expected at least 1")
        build, published = BACKBONES[backbone]
        net = build(
            weights=None,
            weights_backbone=None,
            num_classes=num_classes + 1,
            box_detections_per_img=max_detections,
            box_score_thresh=0.0,
        )
        load_torchvision(net, weights, published=published, class_layers=CLASS_LAYERS)
        self.num_classes, self.max_detections = num_classes, max_detections
        self.normalise = Normalise(IMAGENET_MEAN, IMAGENET_STD)
        self.backbone = net.backbone
        self.proposals = net.rpn
        self.regions = net.roi_heads

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """The same as `predict`: this net's losses need the targets inside; see `losses`."""
        return self.predict(images)

    def losses(self, images: torch.Tensor, targets: TrueBoxes) -> dict[str, torch.Tensor]:
        """Terms of both stages; their sum is minimised. The net must be in training mode.

        Args:
            images: (b, h, w, 3) uint8 RGB.
            targets: the true boxes; an image may have none.
        """
        batch, features = self._features(images)
        truths = [{"boxes": boxes, "labels": class_ids + 1} for boxes, class_ids in boxes_of_images(targets)]
        with full_precision(images.device):
            proposals, first = self.proposals(batch, features, truths)
            _, second = self.regions(features, proposals, batch.image_sizes, truths)
        return {**first, **second}

    def predict(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """`boxes` (b, n, 4) x1 y1 x2 y2 in input pixels and `scores` (b, n, c); n is `max_detections`.

        Every row scores one class and the rows of an image already went through non-maximum suppression. The net must
        be in evaluation mode.

        Args:
            images: (b, h, w, 3) uint8 RGB.
        """
        batch, features = self._features(images)
        with full_precision(images.device):
            proposals, _ = self.proposals(batch, features)
            found, _ = self.regions(features, proposals, batch.image_sizes)
        boxes, scores = [], []
        for one in found:
            padding = self.max_detections - len(one["boxes"])
            columns = F.one_hot(one["labels"] - 1, self.num_classes) * one["scores"][:, None]  # (m, c)
            boxes.append(F.pad(one["boxes"], (0, 0, 0, padding)))
            scores.append(F.pad(columns, (0, 0, 0, padding)))
        return {"boxes": torch.stack(boxes), "scores": torch.stack(scores)}

    def _features(self, images: torch.Tensor) -> tuple[ImageList, dict[str, torch.Tensor]]:
        normalised = self.normalise(images)
        sizes = [(images.shape[1], images.shape[2])] * len(images)
        features = {name: x.float() for name, x in self.backbone(normalised).items()}
        return ImageList(normalised, sizes), features
