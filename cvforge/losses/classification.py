"""What a classifier is trained to: the probability of the true class, or a mixture of them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from cvforge.errors import ConfigError
from cvforge_edge.types import Task


class CrossEntropy(nn.Module):
    """Cross-entropy to class ids, or to probabilities where images were mixed.

    Source of the smoothing: Szegedy et al. 2016, Rethinking the Inception Architecture, section 7.

    Args:
        label_smoothing: share of the target that is spread over all classes, 0-1.

    Raises:
        ConfigError: label_smoothing is out of range.
    """

    task = Task.CLASSIFICATION

    def __init__(self, label_smoothing: float = 0.0) -> None:
        super().__init__()
        if not 0.0 <= label_smoothing <= 1.0:
            raise ConfigError(f"label_smoothing: found {label_smoothing}, expected 0..1")
        self.label_smoothing = label_smoothing

    def forward(self, raw: torch.Tensor, targets: torch.Tensor) -> dict[str, torch.Tensor]:
        """The term `class`.

        Args:
            raw: (b, c) logits.
            targets: (b,) int64 class ids, or (b, c) float probabilities.
        """
        return {"class": F.cross_entropy(raw.float(), targets, label_smoothing=self.label_smoothing)}
