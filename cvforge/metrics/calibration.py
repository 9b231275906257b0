"""Whether a classifier's probabilities are what they say: right in 80 % of the cases where they are 0.8."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

BINS = 15


@dataclass(frozen=True, eq=False)
class Reliability:
    """Answers by their probability, in bins of equal width over 0..1; only bins that hold some.

    Attributes:
        counts: (b,) answers in each bin.
        confidence: (b,) their mean probability.
        accuracy: (b,) share of them that is right.
        error: expected calibration error, the mean distance of both, weighted by the counts.
            Source: Guo et al. 2017, On Calibration of Modern Neural Networks, eq. 3.
    """

    counts: npt.NDArray[np.int64]
    confidence: npt.NDArray[np.float64]
    accuracy: npt.NDArray[np.float64]
    error: float


def reliability(
    probabilities: npt.NDArray[np.float64], right: npt.NDArray[np.bool_], *, bins: int = BINS
) -> Reliability:
    """Compare probabilities with what came true.

    Args:
        probabilities: (n,) of the strongest class of each image, n at least 1.
        right: (n,) whether that class is the true one.
        bins: how many; a bin holds its upper end, not its lower one.
    """
    places = np.clip(np.ceil(probabilities * bins).astype(np.int64) - 1, 0, bins - 1)
    counts = np.bincount(places, minlength=bins)
    there = counts > 0
    confidence = np.bincount(places, probabilities, minlength=bins)[there] / counts[there]
    accuracy = np.bincount(places, right.astype(np.float64), minlength=bins)[there] / counts[there]
    error = float((counts[there] * np.abs(accuracy - confidence)).sum() / len(probabilities))
    return Reliability(counts[there], confidence, accuracy, error)
