"""What a segmentation net is trained to: the class of every pixel, and on request the overlap of whole regions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from cvforge.errors import ConfigError
from cvforge_edge.types import VOID_CLASS_ID, Task

EPSILON = 1e-6


class SegmentationLoss(nn.Module):
    """Cross-entropy of pixels and, where `dice_weight` is above 0, the Dice loss of the classes that occur.

    Void pixels (255) count for nothing; a batch of void pixels alone gives 0.

    Args:
        dice_weight: factor of the `dice` term; 0 leaves it out.
        class_weights: one factor per class for its pixels in the cross-entropy; null: all equal.

    Raises:
        ConfigError: a weight is negative.
    """

    task = Task.SEGMENTATION

    def __init__(self, dice_weight: float = 0.0, class_weights: Sequence[float] | None = None) -> None:
        super().__init__()
        if dice_weight < 0:
            raise ConfigError(f"dice_weight: found {dice_weight}, expected at least 0")
        if class_weights is not None and (not class_weights or min(class_weights) < 0 or max(class_weights) == 0):
            raise ConfigError(f"class_weights: found {list(class_weights)}, expected numbers of at least 0, not all 0")
        self.dice_weight = dice_weight
        weights = None if class_weights is None else torch.tensor(list(class_weights), dtype=torch.float32)
        self.register_buffer("class_weights", weights, persistent=False)

    def forward(self, raw: torch.Tensor, targets: torch.Tensor) -> dict[str, torch.Tensor]:
        """The weighted terms `class` and, if asked for, `dice`; their sum is minimised.

        Args:
            raw: (b, c, h', w') logits at any size that covers the same frame.
            targets: (b, h, w) int64 class ids, 255 for void.
        """
        if self.class_weights is not None and len(self.class_weights) != raw.shape[1]:
            raise ConfigError(
                f"class_weights: {len(self.class_weights)} weights, but the net scores {raw.shape[1]} classes"
            )
        logits = F.interpolate(raw.float(), size=targets.shape[-2:], mode="bilinear", align_corners=False)
        # Rows of pixels: the two-dimensional form has no deterministic kernel on a GPU.
        logits, targets = logits.permute(0, 2, 3, 1).flatten(0, 2), targets.flatten()  # (p, c), (p,)
        terms = {"class": self._cross_entropy(logits, targets)}
        if self.dice_weight > 0:
            terms["dice"] = self.dice_weight * _dice(logits, targets)
        return terms

    def _cross_entropy(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        total = F.cross_entropy(logits, targets, weight=self.class_weights, ignore_index=VOID_CLASS_ID, reduction="sum")
        known = targets != VOID_CLASS_ID
        if self.class_weights is None:
            return total / known.sum().clamp(min=1)
        return total / self.class_weights[torch.where(known, targets, 0)].mul(known).sum().clamp(min=EPSILON)


def _dice(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """1 - 2 |P and T| / (|P| + |T|), mean over the classes that occur.

    Source: Milletari et al. 2016, V-Net, section 3.
    """
    known = (targets != VOID_CLASS_ID)[:, None]  # (p, 1)
    probabilities = logits.softmax(dim=1) * known  # (p, c)
    truth = F.one_hot(torch.where(known[:, 0], targets, 0), logits.shape[1]) * known  # (p, c)
    shared, sizes = (probabilities * truth).sum(dim=0), (probabilities + truth).sum(dim=0)  # (c,), (c,)
    occurs = truth.any(dim=0)
    losses = torch.where(occurs, 1 - 2 * shared / sizes.clamp(min=EPSILON), 0.0)
    return losses.sum() / occurs.sum().clamp(min=1)
