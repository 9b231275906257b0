"""Boxes of dense detectors from the codes that their heads give, as plain arithmetic on static shapes."""

from __future__ import annotations

import math

import torch

LOG_SIZE_LIMIT = math.log(1000 / 16)
"""Largest logarithm of a box's size over its anchor's, as torchvision has it."""


def decode_centre_and_size(
    codes: torch.Tensor, anchors_xyxy: torch.Tensor, *, weights: tuple[float, float]
) -> torch.Tensor:
    """Boxes (b, n, 4) x1 y1 x2 y2 from shifts of centre and size.

    Source: Girshick et al. 2014, R-CNN, appendix C; Liu et al. 2016, SSD, section 2.2.

    Args:
        codes: (b, n, 4) shift of the centre in sizes of the anchor, and logarithm of the size over the anchor's.
        anchors_xyxy: (n, 4) in input pixels.
        weights: factors of both pairs in `codes`.
    """
    sizes = anchors_xyxy[:, 2:] - anchors_xyxy[:, :2]  # (n, 2)
    centres = anchors_xyxy[:, :2] + sizes / 2 + codes[..., :2] / weights[0] * sizes  # (b, n, 2)
    halves = (codes[..., 2:] / weights[1]).clamp(max=LOG_SIZE_LIMIT).exp() * sizes / 2
    return torch.cat((centres - halves, centres + halves), dim=2)


def decode_distances(codes: torch.Tensor, cells_xyxy: torch.Tensor) -> torch.Tensor:
    """Boxes (b, n, 4) x1 y1 x2 y2 from distances of the centre of a cell to the four sides.

    Source: Tian et al. 2019, FCOS, section 3.1.

    Args:
        codes: (b, n, 4) left, top, right, bottom, in sizes of the cell.
        cells_xyxy: (n, 4) in input pixels.
    """
    sizes = cells_xyxy[:, 2:] - cells_xyxy[:, :2]  # (n, 2)
    centres = cells_xyxy[:, :2] + sizes / 2
    return torch.cat((centres - codes[..., :2] * sizes, centres + codes[..., 2:] * sizes), dim=2)


def inside(boxes_xyxy: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """The boxes (b, n, 4), cut at the border of images (b, h, w, 3)."""
    height, width = images.shape[1:3]
    return torch.minimum(boxes_xyxy.clamp(min=0.0), boxes_xyxy.new_tensor((width, height, width, height)))
