"""Keeps the label of a classifier from flickering: a mean that forgets, and a lead that a new label needs."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from cvforge_edge.errors import SpecError
from cvforge_edge.frame import Result
from cvforge_edge.types import ClassScores

if TYPE_CHECKING:
    import numpy.typing as npt

LEAD = 0.1
"""A class must be stronger than the one before by this much to take its place."""


class LabelSmoother:
    """Averages probabilities over time; a step for classification.

    Older frames count less: by a factor of e for each `over_s`, whatever the rate of frames. Where the strongest class leads
    the one before by less than `lead`, the two exchange their probabilities, so that the label stays; no value is off by
    more than that.
    """

    def __init__(self, *, over_s: float, lead: float = LEAD) -> None:
        """Begin with the first frame.

        Args:
            over_s: time constant of the mean, in seconds, above 0.
            lead: in [0, 1].

        Raises:
            SpecError: a value is out of range.
        """
        if not (over_s > 0 and 0 <= lead <= 1):
            raise SpecError(f"label smoother: found over_s {over_s} and lead {lead}; accepted over_s > 0, lead 0 to 1")
        self._over_s, self._lead = over_s, lead
        self._mean: npt.NDArray[np.float64] | None = None
        self._time_s = 0.0
        self._class_id = -1

    def apply(self, result: Result) -> Result:
        """The result with probabilities that are means over the last moments.

        Raises:
            SpecError: the prediction is not that of a classifier.
        """
        if not isinstance(result.prediction, ClassScores):
            raise SpecError(f"label smoother: found {type(result.prediction).__name__}, accepted ClassScores")
        smoothed = self.smooth(result.prediction.probs, time_s=result.frame.time_s)
        return replace(result, prediction=ClassScores(smoothed))

    def smooth(self, probs: npt.NDArray[np.float32], *, time_s: float) -> npt.NDArray[np.float32]:
        """The means (c,) after one frame more; time that goes backwards begins anew.

        Source: Brown 1959, exponential smoothing, in continuous time: weight 1 - exp(-elapsed / over_s) for the new frame.
        """
        elapsed_s = time_s - self._time_s
        if self._mean is None or elapsed_s < 0 or self._mean.shape != probs.shape:
            self._mean, self._class_id = probs.astype(np.float64), int(probs.argmax())
        else:
            self._mean = self._mean + (1 - math.exp(-elapsed_s / self._over_s)) * (probs - self._mean)
        self._time_s = time_s
        strongest = int(self._mean.argmax())
        if self._mean[strongest] - self._mean[self._class_id] >= self._lead:
            self._class_id = strongest
        shown = self._mean.copy()
        shown[[strongest, self._class_id]] = self._mean[[self._class_id, strongest]]
        return shown.astype(np.float32)
