"""Image classification with any timm backbone."""

from __future__ import annotations

import torch
from torch import nn

from cvforge.errors import ConfigError
from cvforge.models.depthwise import use_fast_depthwise
from cvforge.models.timm_nets import build_classifier, normalise_for
from cvforge_edge.types import Task


class TimmClassifier(nn.Module):
    """A timm network with a linear classifier on its pooled features.

    Args:
        num_classes: number of classes.
        backbone: timm architecture, such as `mobilenetv4_conv_small`.
        weights: null (random), `timm`, `file:PATH`, a path, or `package:NAME`; a classifier for another number of
            classes is left out.
        drop_rate: dropout before the classifier, 0-1.
        drop_path_rate: stochastic depth, 0-1.

    Raises:
        ConfigError: timm has no such architecture, or it does not end in one linear layer.
        CheckpointError: the weights cannot be read or do not fit.
    """

    task = Task.CLASSIFICATION
    export_blocker: str | None = None
    embedding_layer: str | None = "backbone"

    def __init__(
        self,
        num_classes: int,
        backbone: str,
        weights: str | None = None,
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
    ) -> None:
        super().__init__()
        net = build_classifier(
            backbone, num_classes=num_classes, weights=weights, drop_rate=drop_rate, drop_path_rate=drop_path_rate
        )
        head = net.get_classifier()
        if not isinstance(head, nn.Linear):
            raise ConfigError(
                f"backbone {backbone}: ends in {type(head).__name__}, not in one linear layer; choose another"
            )
        net.reset_classifier(0)
        self.normalise = normalise_for(backbone)
        self.backbone = net
        self.head = head
        use_fast_depthwise(self)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits (b, c) of images (b, h, w, 3) uint8 RGB."""
        features = self.backbone(self.normalise(images))  # (b, f)
        return self.head(features)  # (b, c)

    def predict(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """`probs` (b, c) in [0, 1] of images (b, h, w, 3) uint8 RGB."""
        return {"probs": self.forward(images).float().softmax(dim=1)}
