"""Our detector for edge devices: anchor-free, single-stage, on any timm backbone, exportable as one static graph."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn

from cvforge.errors import ConfigError
from cvforge.models.depthwise import use_fast_depthwise
from cvforge.models.layers import SeparableConv
from cvforge.models.path_aggregation import PathAggregation
from cvforge.models.precision import full_precision
from cvforge.models.timm_nets import build_features, normalise_for
from cvforge_edge.types import Task

PRIOR_PROBABILITY = 0.01
"""Score of every point before training, so that the many empty points do not drown the first steps.

Source: Lin et al. 2017, Focal Loss, section 4.1.
"""
HEAD_STD = 0.01
PRIOR_DECAY = 0.35
"""How much less likely each further distance is before training: boxes start about five strides wide, so that each map
begins with the sizes that it will own."""


class EdgeDetector(nn.Module):
    """Every cell of three feature maps says which class lies on it and how far the box reaches to its four sides.

    A side is a distribution over `reg_max + 1` distances 0..reg_max, in strides of its map; its mean is the distance.
    Sources: Tian et al. 2019, FCOS (points, distances); Li et al. 2020, Generalized Focal Loss (distributions);
    Yu et al. 2021, PP-PicoDet (light neck and head). Trained by `cvforge.losses.detection.DetectionLoss`.

    Args:
        num_classes: number of classes.
        backbone: timm architecture with feature maps, such as `tf_efficientnet_lite0`.
        weights: of the backbone: null (random), `timm`, `file:PATH`, a path, or `package:NAME`.
        neck_channels: channels of neck and head.
        head_depth: convolution blocks in each branch of the head.
        strides: input pixels of one cell of each map, highest resolution first, each twice the former.
        reg_max: largest distance to a side, in strides.

    Raises:
        ConfigError: timm has no such architecture or no maps of these strides, or a number is out of range.
        CheckpointError: the weights cannot be read or do not fit.
    """

    task = Task.DETECTION
    export_blocker: str | None = None
    embedding_layer: str | None = "backbone"

    def __init__(
        self,
        num_classes: int,
        backbone: str,
        weights: str | None = None,
        neck_channels: int = 96,
        head_depth: int = 2,
        strides: Sequence[int] = (8, 16, 32),
        reg_max: int = 15,
    ) -> None:
        super().__init__()
        _check_numbers(num_classes, neck_channels, head_depth, reg_max)
        if not strides or any(coarse != 2 * fine for fine, coarse in zip(strides, strides[1:], strict=False)):
            raise ConfigError(
                f"strides: found {list(strides)}, expected one or more, each twice the former: [8, 16, 32]"
            )
        self.strides = tuple(strides)
        self.normalise = normalise_for(backbone)
        self.backbone = build_features(backbone, strides=self.strides, weights=weights)
        self.neck = PathAggregation(self.backbone.feature_info.channels(), neck_channels)
        self.class_heads = nn.ModuleList(_branch(neck_channels, head_depth, num_classes) for _ in strides)
        self.box_heads = nn.ModuleList(_branch(neck_channels, head_depth, 4 * (reg_max + 1)) for _ in strides)
        self.register_buffer("distances", torch.arange(reg_max + 1, dtype=torch.float32), persistent=False)
        for head in self.class_heads:
            nn.init.constant_(head[-1].bias, -math.log((1 - PRIOR_PROBABILITY) / PRIOR_PROBABILITY))
        for head in self.box_heads:
            head[-1].bias.data = (-PRIOR_DECAY * self.distances).repeat(4)
        use_fast_depthwise(self)

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """What the loss compares with the true boxes, for all n points of all maps.

        Args:
            images: (b, h, w, 3) uint8 RGB.

        Returns:
            `class_logits` (b, n, c); `distance_logits` (b, n, 4, reg_max + 1) of left, top, right, bottom;
            `boxes` (b, n, 4) float32 x1 y1 x2 y2 in input pixels, not clipped; `points` (n, 2) x y in input pixels;
            `strides` (n, 1) in input pixels.
        """
        maps = self.neck(self.backbone(self.normalise(images)))  # 3 x (b, neck_channels, h/s, w/s)
        class_logits = torch.cat([_rows(head(x)) for head, x in zip(self.class_heads, maps, strict=True)], dim=1)
        distance_logits = torch.cat([_rows(head(x)) for head, x in zip(self.box_heads, maps, strict=True)], dim=1)
        distance_logits = distance_logits.unflatten(2, (4, -1))  # (b, n, 4, reg_max + 1)
        points, strides = _points(maps, self.strides)
        return {
            "class_logits": class_logits,
            "distance_logits": distance_logits,
            "boxes": self._boxes(distance_logits, points, strides),
            "points": points,
            "strides": strides,
        }

    def predict(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """`boxes` (b, n, 4) x1 y1 x2 y2 inside the input and `scores` (b, n, c) in [0, 1], two tensors for int8's sake.

        Args:
            images: (b, h, w, 3) uint8 RGB.
        """
        raw = self.forward(images)
        height, width = images.shape[1:3]
        limit = raw["boxes"].new_tensor((width, height, width, height))
        boxes = torch.minimum(raw["boxes"].clamp(min=0.0), limit)
        return {"boxes": boxes, "scores": raw["class_logits"].float().sigmoid()}

    def _boxes(self, distance_logits: torch.Tensor, points: torch.Tensor, strides: torch.Tensor) -> torch.Tensor:
        with full_precision(distance_logits.device):
            probabilities = distance_logits.float().softmax(dim=3)
            # A matrix product, not multiply and sum: an int8 runtime accumulates it in 32 bits.
            means = torch.matmul(probabilities, self.distances[:, None]).squeeze(3)  # (b, n, 4)
            to_sides = means * strides
            return torch.cat((points - to_sides[..., :2], points + to_sides[..., 2:]), dim=2)


def _branch(channels: int, depth: int, outputs: int) -> nn.Sequential:
    last = nn.Conv2d(channels, outputs, 1)
    nn.init.normal_(last.weight, std=HEAD_STD)
    nn.init.zeros_(last.bias)
    # Leaky: with ReLU6 a rare class ended where all features of its places are off, and only the bias still learned:
    # on BCCD the platelets kept their prior score of 0.01 for 70 epochs.
    return nn.Sequential(*(SeparableConv(channels, channels, leaky=True) for _ in range(depth)), last)


def _rows(x: torch.Tensor) -> torch.Tensor:
    """(b, h*w, c) of a map (b, c, h, w); no copy where the map lies in channels_last order."""
    return x.permute(0, 2, 3, 1).flatten(1, 2)


def _points(maps: Sequence[torch.Tensor], strides: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Centre (n, 2) and stride (n, 1) of every cell; constants of the exported graph, since sizes are static."""
    points, widths = [], []
    for x, stride in zip(maps, strides, strict=True):
        height, width = x.shape[-2:]
        rows = (torch.arange(height, device=x.device, dtype=torch.float32) + 0.5) * stride
        columns = (torch.arange(width, device=x.device, dtype=torch.float32) + 0.5) * stride
        grid_y, grid_x = torch.meshgrid(rows, columns, indexing="ij")
        points.append(torch.stack((grid_x, grid_y), dim=-1).reshape(-1, 2))
        widths.append(torch.full((height * width, 1), float(stride), device=x.device))
    return torch.cat(points), torch.cat(widths)


def _check_numbers(num_classes: int, neck_channels: int, head_depth: int, reg_max: int) -> None:
    numbers = {"num_classes": num_classes, "neck_channels": neck_channels, "reg_max": reg_max}
    wrong = [f"{name}: found {value}, expected at least 1" for name, value in numbers.items() if value < 1]
    if head_depth < 0:
        wrong.append(f"head_depth: found {head_depth}, expected at least 0")
    if wrong:
        raise ConfigError("; ".join(wrong))
