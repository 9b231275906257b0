"""Rounds the weights of a layer so that its output changes least, rather than each weight to its nearest step.

One weight after the other is rounded, and the weights that are left take back what that did to the output. What they can
take back is written in the second moments of the layer's inputs. Source: Frantar et al. 2023, GPTQ: Accurate Post-Training
Quantization for Generative Pre-trained Transformers, sections 3 and 4, after Hassibi & Stork 1993 (Optimal Brain Surgeon).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

STEPS = 127
"""Of a symmetric int8 weight, on each side of zero."""
DAMPING = 0.1
"""Added to the moments' diagonal, as a fraction of its mean: inputs that the images never showed must not run away."""
BLOCK = 128
MAX_WEIGHTS = 4608
"""Of one output: 3 x 3 x 512. The moments of more would take gigabytes; such layers keep their nearest steps."""
SAME_STEP = 1e-4
"""Steps of an int8 file and of `steps_of` are the same: quantisers compute theirs in single precision."""
POSITIONS = 64
"""How many places of an image a layer's inputs are looked at."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Window:
    """How a convolution moves over its input.

    Attributes:
        kernel_hw: height and width of the kernel.
        stride_hw: steps in pixels.
        dilation_hw: distance of neighbouring weights in pixels.
        before_hw: rows above and columns left of the input that are read as zero.
        output_hw: height and width of the output.
    """

    kernel_hw: tuple[int, int]
    stride_hw: tuple[int, int]
    dilation_hw: tuple[int, int]
    before_hw: tuple[int, int]
    output_hw: tuple[int, int]

    def patches(self, image: npt.NDArray[np.float32], rng: np.random.Generator) -> npt.NDArray[np.float32]:
        """What the kernel sees at some places of an input (h, w, c): (n, kernel h, kernel w, c), n at most `POSITIONS`."""
        height, width = self.output_hw
        places = rng.permutation(height * width)[:POSITIONS]
        rows, row_there = self._lines(places // width, 0, image.shape[0])
        columns, column_there = self._lines(places % width, 1, image.shape[1])
        seen = image[rows[:, :, None], columns[:, None, :]]
        return seen * (row_there[:, :, None] & column_there[:, None, :])[..., None]

    def _lines(
        self, places: npt.NDArray[np.int64], axis: int, size: int
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        """Positions (n, kernel) along one axis, moved inside, and whether they were inside."""
        first = places * self.stride_hw[axis] - self.before_hw[axis]
        lines = first[:, None] + np.arange(self.kernel_hw[axis]) * self.dilation_hw[axis]
        return lines.clip(0, size - 1), (lines >= 0) & (lines < size)


class InputMoments:
    """Second moments of what the weights of a layer are multiplied with."""

    def __init__(self) -> None:
        self._sum: Floats | None = None
        self.count = 0

    def add(self, inputs: npt.NDArray[np.float32]) -> None:
        """Take in inputs (g, n, k): n places, k weights of an output, g groups of channels."""
        moments = np.matmul(inputs.transpose(0, 2, 1), inputs).astype(np.float64)
        self._sum = moments if self._sum is None else self._sum + moments
        self.count += inputs.shape[1]

    def value(self) -> Floats:
        """The moments (g, k, k).

        Raises:
            ValueError: nothing was taken in.
        """
        if self._sum is None:
            raise ValueError("no inputs were taken in")
        return self._sum / self.count


def grouped_inputs(patches: npt.NDArray[np.float32], groups: int) -> npt.NDArray[np.float32]:
    """Patches (n, kernel h, kernel w, c) as inputs (g, n, kernel h * kernel w * c / g)."""
    count, height, width, channels = patches.shape
    split = patches.reshape(count, height, width, groups, channels // groups)
    return split.transpose(3, 0, 1, 2, 4).reshape(groups, count, -1)


def steps_of(weights: npt.NDArray[np.floating]) -> Floats:
    """The step (g, o, 1) of each output's weights (g, o, k): the largest of them lies on step 127."""
    return np.maximum(np.abs(weights).max(axis=2, keepdims=True).astype(np.float64), 1e-12) / STEPS


def compensated(weights: npt.NDArray[np.floating], moments: Floats) -> npt.NDArray[np.int8]:
    """The weights in steps of `steps_of`, rounded for the least change of the layer's output.

    Args:
        weights: (g, o, k): groups of channels, outputs of a group, weights of an output.
        moments: (g, k, k), from `InputMoments`.

    Returns:
        (g, o, k), -127 to 127.
    """
    steps = steps_of(weights)
    diagonal = np.diagonal(moments, axis1=1, axis2=2)
    order = np.argsort(
        -diagonal, axis=1, kind="stable"
    )  # what weighs most is rounded first, while others can compensate
    left = np.take_along_axis(weights / steps, order[:, None], axis=2)
    spread = _spread(moments, order)
    rounded = np.empty_like(left)
    size = left.shape[2]
    for start in range(0, size, BLOCK):
        stop = min(start + BLOCK, size)
        errors = np.empty((*left.shape[:2], stop - start))
        for column in range(start, stop):
            rounded[:, :, column] = np.clip(np.rint(left[:, :, column]), -STEPS, STEPS)
            error = (left[:, :, column] - rounded[:, :, column]) / spread[:, column, column, None]
            left[:, :, column + 1 : stop] -= error[..., None] * spread[:, None, column, column + 1 : stop]
            errors[:, :, column - start] = error
        left[:, :, stop:] -= errors @ spread[:, start:stop, stop:]
    back = np.argsort(order, axis=1, kind="stable")
    return np.take_along_axis(rounded, back[:, None], axis=2).astype(np.int8)


def output_error(weights: npt.NDArray[np.floating], rounded: npt.NDArray[np.int8], moments: Floats) -> float:
    """Mean square change of the outputs by rounding, summed over outputs; arguments as for `compensated`."""
    change = rounded * steps_of(weights) - weights
    return float(np.einsum("gok,gkl,gol->", change, moments, change, optimize=True))


def _spread(moments: Floats, order: npt.NDArray[np.int64]) -> Floats:
    """The upper Cholesky factor (g, k, k) of the inverse moments, in the order in which weights are rounded."""
    size = moments.shape[1]
    sorted_moments = np.take_along_axis(moments, order[:, :, None], axis=1)
    sorted_moments = np.take_along_axis(sorted_moments, order[:, None, :], axis=2)
    mean = np.diagonal(moments, axis1=1, axis2=2).mean(axis=1)
    damping = np.where(mean > 0, DAMPING * mean, 1.0)  # no input at all: every rounding is as good
    inverse = np.linalg.inv(sorted_moments + damping[:, None, None] * np.eye(size))
    return np.linalg.cholesky((inverse + inverse.transpose(0, 2, 1)) / 2).transpose(0, 2, 1)
