"""How far the raw outputs of an exported file lie from those of its checkpoint, on real images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

MIN_RANGE = 1e-2
"""An output that moves less than this over all images is held to an absolute error instead: float32 has no more digits."""

RawOutputs = Mapping[str, npt.NDArray[Any]]


class GivesRawOutputs(Protocol):
    """`cvforge_edge.predictor.Predictor` or anything like it."""

    def raw_outputs(self, input_u8: npt.NDArray[np.uint8]) -> dict[str, npt.NDArray[Any]]:
        """Outputs by role for one (h, w, 3) uint8 input."""


def relative_errors(reference: Sequence[RawOutputs], candidate: Sequence[RawOutputs]) -> dict[str, float]:
    """The worst error of each output, as a fraction of the range that the reference has over all images.

    Args:
        reference: raw outputs by role, one entry an image.
        candidate: the same images through another runtime.

    Returns:
        Role -> largest absolute difference / (largest - smallest reference value). Infinite where shapes differ or the
        candidate holds NaN or Infinity.
    """
    return {role: _relative_error(_column(reference, role), _column(candidate, role)) for role in reference[0]}


def collect_raw_outputs(
    predictor: GivesRawOutputs, inputs_u8: Sequence[npt.NDArray[np.uint8]]
) -> list[dict[str, npt.NDArray[Any]]]:
    """Raw outputs by role of each prepared input (h, w, 3) uint8."""
    return [predictor.raw_outputs(input_u8) for input_u8 in inputs_u8]


def _column(outputs: Sequence[RawOutputs], role: str) -> list[npt.NDArray[Any]]:
    return [image_outputs[role] for image_outputs in outputs]


def _relative_error(reference: list[npt.NDArray[Any]], candidate: list[npt.NDArray[Any]]) -> float:
    value_range = max(float(max(r.max() for r in reference) - min(r.min() for r in reference)), MIN_RANGE)
    worst = 0.0
    for expected, found in zip(reference, candidate, strict=True):
        if expected.shape != found.shape or not np.isfinite(found).all():
            return float("inf")
        worst = max(worst, float(np.abs(expected.astype(np.float64) - found).max()))
    return worst / value_range
