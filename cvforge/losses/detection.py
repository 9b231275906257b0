"""What an anchor-free detector is trained to: soft class scores, overlapping boxes, sharp distances."""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import nn

from cvforge.errors import ConfigError
from cvforge.losses.assign import Assignment, TaskAlignedAssigner
from cvforge.losses.iou import ciou
from cvforge_edge.types import Task


class TrueBoxes(Protocol):
    """The true boxes of a batch: `boxes_input_xyxy` (b, m, 4) and `class_ids` (b, m), padded with -1."""

    boxes_input_xyxy: torch.Tensor
    class_ids: torch.Tensor


class DetectionLoss(nn.Module):
    """Binary cross-entropy to task-aligned scores, complete IoU, and distribution focal loss of the four distances.

    Every term is divided by the sum of the target scores, so neither batch size nor number of boxes moves its scale.
    Sources: Feng et al. 2021, TOOD (targets); Zheng et al. 2020, Distance-IoU (boxes); Li et al. 2020, Generalized
    Focal Loss, eq. 6 (distances); Xu et al. 2022, PP-YOLOE (default weights).

    Args:
        num_classes: number of classes.
        box_weight: factor of the `box` term.
        class_weight: factor of the `class` term.
        dfl_weight: factor of the `distance` term.
        top_k: points that learn each box.
        alpha: weight of the predicted score when points are chosen.
        beta: weight of the predicted overlap when points are chosen.

    Raises:
        ConfigError: a number is out of range.
    """

    task = Task.DETECTION

    def __init__(
        self,
        num_classes: int,
        box_weight: float = 2.5,
        class_weight: float = 1.0,
        dfl_weight: float = 0.5,
        top_k: int = 10,
        alpha: float = 0.5,
        beta: float = 6.0,
    ) -> None:
        super().__init__()
        weights = {"box_weight": box_weight, "class_weight": class_weight, "dfl_weight": dfl_weight}
        wrong = [f"{name}: found {value}, expected at least 0" for name, value in weights.items() if value < 0]
        counts = {"num_classes": num_classes, "top_k": top_k}
        wrong += [f"{name}: found {value}, expected at least 1" for name, value in counts.items() if value < 1]
        if wrong:
            raise ConfigError("detection loss: " + "; ".join(wrong))
        self.num_classes = num_classes
        self.box_weight, self.class_weight, self.dfl_weight = box_weight, class_weight, dfl_weight
        self.assigner = TaskAlignedAssigner(top_k, alpha=alpha, beta=beta)

    def forward(self, raw: dict[str, torch.Tensor], targets: TrueBoxes) -> dict[str, torch.Tensor]:
        """The weighted terms `class`, `box` and `distance`; their sum is minimised.

        Args:
            raw: `class_logits` (b, n, c), `distance_logits` (b, n, 4, r), `boxes` (b, n, 4) in input pixels, `points`
                (n, 2) and `strides` (n, 1), as `cvforge.models.edge_detector.EdgeDetector` gives them.
            targets: the true boxes; an image may have none.
        """
        class_logits = raw["class_logits"]
        if class_logits.shape[2] != self.num_classes:
            raise ConfigError(
                f"detection loss: num_classes is {self.num_classes}, but the net scores {class_logits.shape[2]} classes"
            )
        with torch.autocast(class_logits.device.type, enabled=False):
            return self._terms({name: tensor.float() for name, tensor in raw.items()}, targets)

    def _terms(self, raw: dict[str, torch.Tensor], targets: TrueBoxes) -> dict[str, torch.Tensor]:
        boxes, class_logits, points, strides = raw["boxes"], raw["class_logits"], raw["points"], raw["strides"]
        true_boxes, true_class_ids = targets.boxes_input_xyxy.float(), targets.class_ids
        assigned = self.assigner.assign(
            class_logits.sigmoid(),
            boxes,
            points=points,
            strides=strides,
            true_boxes_xyxy=true_boxes,
            true_class_ids=true_class_ids,
        )
        total = assigned.target_scores.sum().clamp(min=1.0)
        class_targets = _class_targets(assigned, true_class_ids, self.num_classes)
        class_term = F.binary_cross_entropy_with_logits(class_logits, class_targets, reduction="sum") / total

        image, point = assigned.is_positive.nonzero(as_tuple=True)  # (p,), (p,)
        weights = assigned.target_scores[image, point] / total  # (p,)
        if len(image) == 0:  # keeps every parameter in the graph: DDP waits for all gradients
            zero = (boxes.sum() + raw["distance_logits"].sum()) * 0.0
            return {"class": self.class_weight * class_term, "box": zero, "distance": zero}
        wanted = true_boxes[image, assigned.box_index[image, point]]  # (p, 4)
        box_term = ((1.0 - ciou(boxes[image, point], wanted)) * weights).sum()
        distances = torch.cat((points[point] - wanted[:, :2], wanted[:, 2:] - points[point]), dim=1) / strides[point]
        distance_term = (distribution_focal(raw["distance_logits"][image, point], distances) * weights).sum()
        return {
            "class": self.class_weight * class_term,
            "box": self.box_weight * box_term,
            "distance": self.dfl_weight * distance_term,
        }


def distribution_focal(logits: torch.Tensor, distances: torch.Tensor) -> torch.Tensor:
    """How little of a distribution lies on the two whole distances around the true one, mean over the sides.

    Source: Li et al. 2020, Generalized Focal Loss, eq. 6.

    Args:
        logits: (p, 4, r) of the distances 0..r-1.
        distances: (p, 4), in the same unit; clipped to 0..r-1.

    Returns:
        (p,) cross-entropy.
    """
    last = logits.shape[2] - 1
    distances = distances.clamp(0, last)
    lower = distances.floor().clamp(max=max(last - 1, 0))
    upper_weight = distances - lower
    log_probabilities = logits.log_softmax(dim=2)
    below = log_probabilities.gather(2, lower.long()[..., None]).squeeze(2)  # (p, 4)
    above = log_probabilities.gather(2, (lower.long() + 1).clamp(max=last)[..., None]).squeeze(2)
    return -(below * (1 - upper_weight) + above * upper_weight).mean(dim=1)


def _class_targets(assigned: Assignment, true_class_ids: torch.Tensor, num_classes: int) -> torch.Tensor:
    """(b, n, c): the target score in the column of the assigned box's class."""
    if true_class_ids.shape[1] == 0:
        return torch.zeros((*assigned.target_scores.shape, num_classes), device=assigned.target_scores.device)
    class_ids = true_class_ids.gather(1, assigned.box_index).clamp(min=0)  # (b, n)
    return F.one_hot(class_ids, num_classes) * assigned.target_scores[..., None]
