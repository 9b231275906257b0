"""Which points of a detector learn which true box: those that already predict its class and place best.

Source: Feng et al. 2021, TOOD: Task-aligned One-stage Object Detection, section 3.2.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from cvforge.losses.iou import pairwise_iou

PADDING = -1
SMALLEST_ALIGNMENT = 1e-30


@dataclass(frozen=True)
class Assignment:
    """What every point of every image shall predict.

    Attributes:
        is_positive: (b, n) bool: the point belongs to a box.
        box_index: (b, n) int64: which box of its image; 0 where not positive.
        target_scores: (b, n) float32 in [0, 1]: score of that box's class; 0 where not positive.
    """

    is_positive: torch.Tensor
    box_index: torch.Tensor
    target_scores: torch.Tensor


@dataclass(frozen=True)
class TaskAlignedAssigner:
    """Each box takes the `top_k` points of highest alignment `score ** alpha * iou ** beta` among those inside it.

    A point that several boxes want goes to the one that it overlaps most. The best point of a box is asked for a
    score equal to the best overlap that the box has reached, the others for proportionally less.

    Attributes:
        top_k: points for each box.
        alpha: weight of the predicted score of the box's class.
        beta: weight of the predicted overlap.
    """

    top_k: int = 10
    alpha: float = 0.5
    beta: float = 6.0

    @torch.no_grad()
    def assign(
        self,
        scores: torch.Tensor,
        boxes_xyxy: torch.Tensor,
        *,
        points: torch.Tensor,
        strides: torch.Tensor,
        true_boxes_xyxy: torch.Tensor,
        true_class_ids: torch.Tensor,
    ) -> Assignment:
        """Divide the points of a batch among its true boxes; all in float32, without a loop over images.

        Args:
            scores: (b, n, c) in [0, 1], predicted.
            boxes_xyxy: (b, n, 4) in input pixels, predicted.
            points: (n, 2) x y in input pixels.
            strides: (n, 1) in input pixels.
            true_boxes_xyxy: (b, m, 4) in input pixels, padded.
            true_class_ids: (b, m) int64, -1 for padding.
        """
        if true_class_ids.shape[1] == 0:
            return _nothing(scores)
        overlaps = pairwise_iou(true_boxes_xyxy, boxes_xyxy)  # (b, m, n)
        index = true_class_ids.clamp(min=0)[:, :, None].expand_as(overlaps)
        class_scores = scores.transpose(1, 2).gather(1, index)  # (b, m, n)
        allowed = _inside(points, strides, true_boxes_xyxy) & (true_class_ids != PADDING)[:, :, None]
        alignment = torch.where(allowed, class_scores.pow(self.alpha) * overlaps.pow(self.beta), 0.0)
        chosen = self._best(alignment)  # (b, m, n)
        # A point wanted twice: to the box that it overlaps most.
        box_index = torch.where(chosen, overlaps, -1.0).argmax(dim=1)  # (b, n)
        owned = torch.nn.functional.one_hot(box_index, true_class_ids.shape[1]).transpose(1, 2).bool() & chosen
        alignment, overlaps = torch.where(owned, alignment, 0.0), torch.where(owned, overlaps, 0.0)
        best_alignment, best_overlap = alignment.amax(dim=2, keepdim=True), overlaps.amax(dim=2, keepdim=True)
        target_scores = (alignment / best_alignment.clamp(min=SMALLEST_ALIGNMENT) * best_overlap).amax(dim=1)  # (b, n)
        is_positive = owned.any(dim=1)
        return Assignment(is_positive, torch.where(is_positive, box_index, 0), target_scores)

    def _best(self, alignment: torch.Tensor) -> torch.Tensor:
        """(b, m, n) bool: the `top_k` highest above zero of each box."""
        count = min(self.top_k, alignment.shape[2])
        threshold = alignment.topk(count, dim=2).values[..., -1:]  # (b, m, 1)
        return (alignment >= threshold) & (alignment > 0)


def _inside(points: torch.Tensor, strides: torch.Tensor, boxes_xyxy: torch.Tensor) -> torch.Tensor:
    """(b, m, n) bool: the point lies in the box, a box smaller than the point's cell counting as large as the cell."""
    centres = (boxes_xyxy[..., :2] + boxes_xyxy[..., 2:]) / 2  # (b, m, 2)
    sides = boxes_xyxy[..., 2:] - boxes_xyxy[..., :2]
    inside = torch.ones((), dtype=torch.bool, device=points.device)
    for axis in (0, 1):
        reach = torch.maximum(sides[..., axis, None], strides[:, 0]) / 2  # (b, m, n)
        inside = inside & ((points[:, axis] - centres[..., axis, None]).abs() <= reach)
    return inside


def _nothing(scores: torch.Tensor) -> Assignment:
    shape = scores.shape[:2]
    return Assignment(
        torch.zeros(shape, dtype=torch.bool, device=scores.device),
        torch.zeros(shape, dtype=torch.int64, device=scores.device),
        torch.zeros(shape, dtype=torch.float32, device=scores.device),
    )
