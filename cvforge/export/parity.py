"""How far the raw outputs of an exported file lie from those of its checkpoint, on real images.

Two numbers an output (docs/decisions/0005): its noise, over all values, which says whether this is the same network at
all; and the worst single value, which rests on one value of one image and so has a wider bound.
A box counts as much as its score, in both: what no score makes visible is arithmetic of the background.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

MIN_RANGE = 1e-2
"""An output that moves less than this over all images is held to an absolute error instead: float32 has no more digits."""
MIN_SPREAD = MIN_RANGE / 4
"""The same for the spread (standard deviation) of an output."""
MIN_SIDE = 8.0
"""Pixels; a smaller side of a box counts as one of this length, the finest step of the grids that boxes are predicted on."""
BOX_UNIT = 0.1
"""Share of a side; a box that is off by so much is another one for strict scores, as a score is that is off by its spread."""
BOXES, SCORES = "boxes", "scores"

RawOutputs = Mapping[str, npt.NDArray[Any]]
Floats = npt.NDArray[np.float64]


class GivesRawOutputs(Protocol):
    """`cvforge_edge.predictor.Predictor` or anything like it."""

    def raw_outputs(self, input_u8: npt.NDArray[np.uint8]) -> dict[str, npt.NDArray[Any]]:
        """Outputs by role for one (h, w, 3) uint8 input."""


@dataclass(frozen=True, eq=False)
class _Compared:
    """One output over all images, flat, float64; `weights` are the scores of boxes, and 1 elsewhere."""

    expected: Floats
    errors: Floats
    weights: Floats


def collect_raw_outputs(
    predictor: GivesRawOutputs, inputs_u8: Sequence[npt.NDArray[np.uint8]]
) -> list[dict[str, npt.NDArray[Any]]]:
    """Raw outputs by role of each prepared input (h, w, 3) uint8."""
    return [predictor.raw_outputs(input_u8) for input_u8 in inputs_u8]


def relative_errors(reference: Sequence[RawOutputs], candidate: Sequence[RawOutputs]) -> dict[str, float]:
    """The worst error of each output, as a fraction of the range that the reference has over all images.

    Args:
        reference: raw outputs by role, one entry an image.
        candidate: the same images through another runtime.

    Returns:
        Role -> largest absolute difference / (largest - smallest reference value); differences of a box count times the
        higher of its two scores. Infinite where shapes differ or the candidate holds NaN or Infinity.
    """
    return {role: _worst(_compare(reference, candidate, role)) for role in reference[0]}


def output_noise(reference: Sequence[RawOutputs], candidate: Sequence[RawOutputs]) -> dict[str, float]:
    """The root mean square error of each output over all images, as a fraction of how far the reference spreads.

    Args:
        reference: raw outputs by role, one entry an image.
        candidate: the same images through another runtime.

    Returns:
        Role -> error / standard deviation of the reference; of boxes: error of a side's ends / a tenth of
        that side, in a mean that is weighted with the square of the higher of the two scores of a box. A network that has
        nothing to do with the reference has about 1 and more. Infinite as for `relative_errors`.
    """
    return {role: _noise(_compare(reference, candidate, role), role) for role in reference[0]}


def _compare(reference: Sequence[RawOutputs], candidate: Sequence[RawOutputs], role: str) -> _Compared | None:
    """None where shapes differ or the candidate holds NaN or Infinity, here or in the scores that boxes are weighted with."""
    weighting = role == BOXES and SCORES in reference[0]
    for name in (role, SCORES) if weighting else (role,):
        for expected, found in zip(reference, candidate, strict=True):
            if expected[name].shape != found[name].shape or not np.isfinite(found[name]).all():
                return None
    expected, found = (_values(outputs, role) for outputs in (reference, candidate))
    weights = np.ones_like(expected)
    if weighting:
        scores = [_values(outputs, SCORES).reshape(len(expected) // 4, -1) for outputs in (reference, candidate)]
        weights = np.repeat(np.maximum(scores[0].max(axis=1), scores[1].max(axis=1)), 4)
    return _Compared(expected, np.abs(expected - found), weights)


def _values(outputs: Sequence[RawOutputs], role: str) -> Floats:
    return np.concatenate([entry[role].ravel() for entry in outputs]).astype(np.float64)


def _worst(compared: _Compared | None) -> float:
    if compared is None:
        return float("inf")
    expected = compared.expected
    return float((compared.weights * compared.errors).max()) / max(float(np.ptp(expected)), MIN_RANGE)


def _noise(compared: _Compared | None, role: str) -> float:
    if compared is None:
        return float("inf")
    if role == BOXES:
        corners = compared.expected.reshape(-1, 2, 2)  # (boxes, start and end, x and y)
        sides = np.maximum(corners[:, 1:] - corners[:, :1], MIN_SIDE)
        parts = (compared.errors.reshape(-1, 2, 2) / (BOX_UNIT * sides)).ravel()
        shares = compared.weights**2
        return float(np.sqrt((shares * parts**2).sum() / max(shares.sum(), np.finfo(np.float64).tiny)))
    return float(np.sqrt((compared.errors**2).mean())) / max(float(compared.expected.std()), MIN_SPREAD)
