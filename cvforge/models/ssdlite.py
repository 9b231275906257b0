"""Detection with torchvision's SSDLite on MobileNetV3, as one static graph that every exporter takes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torchvision.models.detection import SSDLite320_MobileNet_V3_Large_Weights, ssdlite320_mobilenet_v3_large
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import box_iou

from cvforge.errors import ConfigError
from cvforge.models.dense_boxes import decode_centre_and_size
from cvforge.models.depthwise import use_fast_depthwise
from cvforge.models.normalise import Normalise
from cvforge.models.precision import full_precision
from cvforge.models.torchvision_nets import TrueBoxes, boxes_of_images, load_torchvision
from cvforge_edge.types import Task

MEAN = STD = (0.5, 0.5, 0.5)
CENTRE_WEIGHT, SIZE_WEIGHT = 10.0, 5.0
"""Factors of the encoded centre and size, as in torchvision's box coder. Source: Liu et al. 2016, SSD, section 2.2."""


class SSDLite(nn.Module):
    """SSD with depthwise-separable heads; it computes its own losses, so its config says `loss: null`.

    Sources: Liu et al. 2016, SSD; Sandler et al. 2018, MobileNetV2, section 6.2.

    Args:
        num_classes: number of classes, background not counted.
        weights: null (random), `torchvision` (trained on COCO, downloaded), or that file as `file:PATH`; with 80
            classes those of COCO are kept, class layers for another number are left out.
        size_hw: height and width of the input, in pixels; its default boxes are made for it.

    Raises:
        ConfigError: the size is no pair of at least 64 pixels.
        CheckpointError: the weights cannot be downloaded or read, or do not fit.
    """

    task = Task.DETECTION
    export_blocker: str | None = None
    embedding_layer: str | None = "backbone.features.1"  # stride 32; the maps behind it are new layers

    def __init__(self, num_classes: int, weights: str | None = None, size_hw: Sequence[int] = (320, 320)) -> None:
        super().__init__()
        if len(size_hw) != 2 or min(size_hw) < 64:
            raise ConfigError(f"size_hw: found {list(size_hw)}, expected height and width of at least 64 pixels")
        net = ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=num_classes + 1)
        load_torchvision(
            net,
            weights,
            published=SSDLite320_MobileNet_V3_Large_Weights.COCO_V1,
            class_layers={f"head.classification_head.module_list.{i}.1.": 1 for i in range(6)},
        )
        self.size_hw = tuple(size_hw)
        self.normalise = Normalise(MEAN, STD)
        self.backbone = net.backbone
        self.head = net.head
        use_fast_depthwise(self)
        # Not a submodule: its other parts would appear twice in the state dict.
        self._matcher, self._loss_terms = net.proposal_matcher, net.compute_loss
        self.register_buffer("default_boxes", self._default_boxes(net.anchor_generator), persistent=False)

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """`bbox_regression` (b, n, 4) and `cls_logits` (b, n, 1 + c), background first.

        Args:
            images: (b, h, w, 3) uint8 RGB of `size_hw`.
        """
        if tuple(images.shape[1:3]) != self.size_hw:
            raise ConfigError(
                f"SSDLite has default boxes for size_hw {list(self.size_hw)}, but the images are "
                f"{list(images.shape[1:3])}; give model.size_hw and preprocess.size_hw the same value"
            )
        return self.head(list(self.backbone(self.normalise(images)).values()))

    def losses(self, images: torch.Tensor, targets: TrueBoxes) -> dict[str, torch.Tensor]:
        """The terms `bbox_regression` and `classification`; their sum is minimised.

        Args:
            images: (b, h, w, 3) uint8 RGB.
            targets: the true boxes; an image may have none.
        """
        head_outputs = {name: tensor.float() for name, tensor in self.forward(images).items()}
        with full_precision(images.device):
            truths, matches = [], []
            for boxes, class_ids in boxes_of_images(targets):
                truths.append({"boxes": boxes, "labels": class_ids + 1})
                matches.append(self._match(boxes))
            return self._loss_terms(truths, head_outputs, [self.default_boxes] * len(truths), matches)

    def predict(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """`boxes` (b, n, 4) x1 y1 x2 y2 inside the input and `scores` (b, n, c), for every default box.

        Args:
            images: (b, h, w, 3) uint8 RGB.
        """
        raw = self.forward(images)
        scores = raw["cls_logits"].float().softmax(dim=2)[..., 1:]  # (b, n, c), without background
        return {"boxes": self._decode(raw["bbox_regression"].float()), "scores": scores}

    def _decode(self, codes: torch.Tensor) -> torch.Tensor:
        boxes = decode_centre_and_size(codes, self.default_boxes, weights=(CENTRE_WEIGHT, SIZE_WEIGHT))
        height, width = self.size_hw
        return torch.minimum(boxes.clamp(min=0.0), boxes.new_tensor((width, height, width, height)))

    def _match(self, boxes: torch.Tensor) -> torch.Tensor:
        if len(boxes) == 0:
            return torch.full((len(self.default_boxes),), -1, dtype=torch.int64, device=boxes.device)
        return self._matcher(box_iou(boxes, self.default_boxes))

    @torch.no_grad()
    def _default_boxes(self, generator: nn.Module) -> torch.Tensor:
        was_training = self.training
        self.eval()
        image = self.normalise(torch.zeros((1, *self.size_hw, 3), dtype=torch.uint8))
        maps = list(self.backbone(image).values())
        self.train(was_training)
        return generator(ImageList(image, [self.size_hw]), maps)[0]  # (n, 4)
