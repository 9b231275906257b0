"""Nearest enlargement written so that every converter takes the pixels that PyTorch takes.

PyTorch's `nearest` gives pixel i the value of floor(i * in / out). litert-torch (0.10) converts it to TFLite's operator with
half-pixel centres, which takes other pixels wherever out / in is no whole number: at feature maps of an odd size. What is
written here instead is a whole factor and a crop, or picked rows and columns; both have one meaning everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

NEAREST = torch.ops.aten.upsample_nearest2d.vec


def unambiguous_nearest(
    x: torch.Tensor, output_size: Sequence[int] | None, scale_factors: Sequence[float] | None
) -> torch.Tensor:
    """A decomposition of `aten.upsample_nearest2d.vec`; NotImplemented, which keeps it, where both factors are whole.

    Args:
        x: (b, c, h, w).
        output_size: height and width, or None where factors are given.
        scale_factors: of height and width, or None.
    """
    axes = []
    for axis, size in enumerate(x.shape[-2:]):
        factor = None if scale_factors is None else scale_factors[axis]
        count = int(size * factor) if factor is not None else output_size[axis]  # type: ignore[index]
        axes.append(_Axis(size, count, float(np.float32(1 / factor if factor is not None else size / count))))
    if all(axis.count % axis.size == 0 for axis in axes):
        return NotImplemented
    if all(axis.is_cropped_whole for axis in axes):
        enlarged = NEAREST(x, None, [float(axis.whole_factor) for axis in axes])
        return enlarged[..., : axes[0].count, : axes[1].count]
    for number, axis in zip((2, 3), axes, strict=True):
        # Computed in the graph, which every converter folds: a tensor made here could not join a traced program.
        at = torch.arange(axis.count, dtype=torch.float32, device=x.device) * axis.step
        x = x.index_select(number, at.floor().clamp(max=axis.size - 1).long())
    return x


@dataclass(frozen=True)
class _Axis:
    """Rows or columns: `size` of them become `count`; output pixel i takes pixel floor(i * step)."""

    size: int
    count: int
    step: float

    @property
    def whole_factor(self) -> int:
        return -(-self.count // self.size)

    @property
    def is_cropped_whole(self) -> bool:
        taken = np.floor(np.arange(self.count, dtype=np.float32) * np.float32(self.step)).clip(max=self.size - 1)
        return bool((taken == np.arange(self.count) // self.whole_factor).all())
