"""Where many boxes are and will be: a Kalman filter of constant velocity over their centres and sizes.

The four numbers of a box (centre x and y, width, height) are filtered apart from each other, each with its rate of change.
So every covariance is 2 x 2 and all boxes are computed at once by a few lines of element-wise arithmetic, without a single
matrix inversion. Source: Bar-Shalom, Li, Kirubarajan 2001, Estimation with Applications to Tracking and Navigation, 6.2.2
(continuous white noise acceleration model) and 5.2.4 (the filter).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cvforge_edge.records import dataclass

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

MEASURED_STD = 0.05
"""Of a detector's centres and sizes, as a fraction of the box's own width or height."""
FIRST_CENTER_RATE_STD, FIRST_SIZE_RATE_STD = 2.0, 0.3
"""Of a new object: box sides a second."""
CENTER_NOISE, SIZE_NOISE = 0.8, 0.15
"""How much the rates of change drift within a second: box sides a second."""
SMALLEST_SIDE = 1.0
"""In pixels; a shrinking box that is not seen never turns inside out."""


@dataclass(frozen=True, eq=False)
class BoxMotion:
    """Estimates for n boxes.

    Attributes:
        state: (5, n, 4) float64. Along the last axis are centre x, centre y, width, height; along the first what is
            estimated of each: its value in pixels, its rate in pixels a second, the variance of the value, the covariance
            of value and rate, and the variance of the rate.
    """

    state: Floats

    @classmethod
    def begin(cls, boxes_xyxy: npt.NDArray[np.float32]) -> BoxMotion:
        """Boxes (n, 4) that were measured once: nothing is known about their motion."""
        values = center_size(boxes_xyxy)
        state = np.zeros((5, *values.shape))
        state[0], state[2] = values, _measured_var(values)
        state[4, :, :2] = (FIRST_CENTER_RATE_STD * _mean_side(values)) ** 2
        state[4, :, 2:] = (FIRST_SIZE_RATE_STD * values[:, 2:]) ** 2
        return cls(state)

    def __len__(self) -> int:
        return int(self.state.shape[1])

    @property
    def values(self) -> Floats:
        """(n, 4) centre x, centre y, width, height in pixels; sides of at least one pixel."""
        return self.state[0]  # type: ignore[no-any-return]

    @property
    def center_std(self) -> Floats:
        """How uncertain centre x and y are, (n, 2) in pixels."""
        return np.sqrt(self.state[2, :, :2])  # type: ignore[no-any-return]

    def predict(self, elapsed_s: float, *, seen: npt.NDArray[np.bool_]) -> BoxMotion:
        """The estimates some time later.

        Args:
            elapsed_s: at least 0.
            seen: (n,) which boxes were measured last time; others keep their size, since nothing holds a guessed growth.
        """
        values, rates, values_var, covar, rates_var = state = self.state.copy()
        rates[~seen, 2:] = 0.0
        noise = np.repeat([CENTER_NOISE**2, SIZE_NOISE**2], 2) * _mean_side(values) ** 2
        values += elapsed_s * rates
        values_var += 2 * elapsed_s * covar + elapsed_s**2 * rates_var + noise * (elapsed_s**3 / 3)
        covar += elapsed_s * rates_var + noise * (elapsed_s**2 / 2)
        rates_var += noise * elapsed_s
        np.maximum(values[:, 2:], SMALLEST_SIDE, out=values[:, 2:])
        return BoxMotion(state)

    def correct(self, rows: npt.NDArray[np.int64], boxes_xyxy: npt.NDArray[np.float32]) -> BoxMotion:
        """The estimates after some of the boxes were measured again.

        Args:
            rows: (k,) which of the n boxes, each at most once.
            boxes_xyxy: (k, 4) what was measured for them, in pixels.
        """
        measured = center_size(boxes_xyxy)
        values, rates, values_var, covar, rates_var = corrected = self.state[:, rows]
        surprise, total_var = measured - values, values_var + _measured_var(measured)
        gain, rates_gain = values_var / total_var, covar / total_var
        values += gain * surprise
        rates += rates_gain * surprise
        rates_var -= rates_gain * covar
        values_var *= 1 - gain
        covar *= 1 - gain
        state = self.state.copy()
        state[:, rows] = corrected
        return BoxMotion(state)

    def select(self, keep: npt.NDArray[Any]) -> BoxMotion:
        """The boxes that a boolean mask or an index array names."""
        return BoxMotion(self.state[:, keep])

    def join(self, other: BoxMotion) -> BoxMotion:
        """These boxes and then the others."""
        return BoxMotion(np.concatenate([self.state, other.state], axis=1))


def center_size(boxes_xyxy: npt.NDArray[np.float32]) -> Floats:
    """Centre x, centre y, width, height of boxes (n, 4), as float64; sides of at least one pixel."""
    boxes = boxes_xyxy.astype(np.float64)
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2], SMALLEST_SIDE)
    return np.concatenate([(boxes[:, :2] + boxes[:, 2:]) / 2, sides], 1)


def _mean_side(values: Floats) -> Floats:
    """(n, 1) the geometric mean of width and height."""
    return np.sqrt(values[:, 2:3] * values[:, 3:])  # type: ignore[no-any-return]


def _measured_var(values: Floats) -> Floats:
    return (MEASURED_STD * np.tile(values[:, 2:], 2)) ** 2  # type: ignore[no-any-return]
