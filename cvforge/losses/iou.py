"""Overlap of boxes: how much two boxes share, and a measure that also pulls boxes which share nothing."""

from __future__ import annotations

import math

import torch

EPSILON = 1e-7


def pairwise_iou(first_xyxy: torch.Tensor, second_xyxy: torch.Tensor) -> torch.Tensor:
    """Intersection over union (..., m, n) of every box (..., m, 4) with every box (..., n, 4); 0 for empty boxes."""
    first, second = first_xyxy.unsqueeze(-2), second_xyxy.unsqueeze(-3)  # (..., m, 1, 4), (..., 1, n, 4)
    # Column by column: with the last axis of 4 kept, the largest tensors would be twice as large and 4 wide.
    width = torch.minimum(first[..., 2], second[..., 2]) - torch.maximum(first[..., 0], second[..., 0])
    height = torch.minimum(first[..., 3], second[..., 3]) - torch.maximum(first[..., 1], second[..., 1])
    shared = width.clamp(min=0) * height.clamp(min=0)  # (..., m, n)
    return shared / (_area(first) + _area(second) - shared).clamp(min=EPSILON)


def ciou(first_xyxy: torch.Tensor, second_xyxy: torch.Tensor) -> torch.Tensor:
    """Complete overlap (n,), at most 1, of pairs of boxes (n, 4): also compares centres and proportions.

    Source: Zheng et al. 2020, Distance-IoU Loss, eq. 8-11; as there, no gradient flows through the trade-off.
    """
    iou = _pair_iou(first_xyxy, second_xyxy)
    hull_width, hull_height = _hull(first_xyxy, second_xyxy)
    diagonal = (hull_width.square() + hull_height.square()).clamp(min=EPSILON)
    centres = (first_xyxy[..., :2] + first_xyxy[..., 2:] - second_xyxy[..., :2] - second_xyxy[..., 2:]) / 2
    distance = centres.square().sum(dim=-1) / diagonal
    difference = 4 / math.pi**2 * (_angle(second_xyxy) - _angle(first_xyxy)).square()
    trade_off = (difference / (1 - iou + difference).clamp(min=EPSILON)).detach()
    return iou - distance - trade_off * difference


def _pair_iou(first_xyxy: torch.Tensor, second_xyxy: torch.Tensor) -> torch.Tensor:
    top_left = torch.maximum(first_xyxy[..., :2], second_xyxy[..., :2])
    bottom_right = torch.minimum(first_xyxy[..., 2:], second_xyxy[..., 2:])
    shared = (bottom_right - top_left).clamp(min=0).prod(dim=-1)
    union = _area(first_xyxy) + _area(second_xyxy) - shared
    return shared / union.clamp(min=EPSILON)


def _hull(first_xyxy: torch.Tensor, second_xyxy: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    top_left = torch.minimum(first_xyxy[..., :2], second_xyxy[..., :2])
    bottom_right = torch.maximum(first_xyxy[..., 2:], second_xyxy[..., 2:])
    return (bottom_right - top_left).unbind(dim=-1)  # width, height


def _area(boxes_xyxy: torch.Tensor) -> torch.Tensor:
    return (boxes_xyxy[..., 2] - boxes_xyxy[..., 0]) * (boxes_xyxy[..., 3] - boxes_xyxy[..., 1])


def _angle(boxes_xyxy: torch.Tensor) -> torch.Tensor:
    width, height = (boxes_xyxy[..., 2:] - boxes_xyxy[..., :2]).unbind(dim=-1)
    # atan2 needs no division; both sides of a predicted box are positive, and an empty box gives 0.
    return torch.atan2(width, height.clamp(min=EPSILON))
