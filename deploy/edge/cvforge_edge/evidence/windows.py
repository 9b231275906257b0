"""What one camera has shown in the last hour and since the model was installed, in memory that does not grow."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

import numpy as np

from cvforge_edge.stats.statistics import Statistics
from cvforge_edge.strict_json import Fields
from cvforge_edge.types import Prediction, Task

if TYPE_CHECKING:
    import numpy.typing as npt

    from cvforge_edge.draw import ImageU8

HOUR_S = 3600.0
PARTS = 12
PART_S = HOUR_S / PARTS
HOUR, SINCE_START = "hour", "since_start"


class Windows:
    """Statistics of one camera over the last hour, in parts of five minutes, and over all time.

    Args:
        task: what the model predicts.
        labels: of the model.
    """

    def __init__(self, task: Task, labels: tuple[str, ...]) -> None:
        self._task, self._labels = task, labels
        self.since_start = Statistics(task, labels)
        self._parts: deque[tuple[float, Statistics]] = deque()

    def add(
        self,
        image_bgr: ImageU8,
        prediction: Prediction,
        *,
        embedding: npt.NDArray[Any] | None,
        distance: float | None,
        now_s: float,
    ) -> None:
        """Take in one picture.

        Args:
            image_bgr: what the network saw.
            prediction: with the thresholds of the bundle.
            embedding: (d,), or None.
            distance: of the embedding from the reference; None where there is none.
            now_s: time of the picture, never smaller than before.

        Raises:
            SpecError: something breaks its contract; nothing of this picture was taken in.
        """
        one = Statistics(self._task, self._labels)
        one.add(image_bgr, prediction, embedding=embedding)
        if one.embedding is not None and distance is not None:
            one.embedding.distances.add(np.array([distance]))
        self.since_start.merge(one)
        if not self._parts or now_s - self._parts[-1][0] >= PART_S:
            self._parts.append((now_s, Statistics(self._task, self._labels)))
        self._parts[-1][1].merge(one)
        self._forget(now_s)

    def hour(self, now_s: float) -> Statistics:
        """The last hour: the parts that began in it."""
        self._forget(now_s)
        joined = Statistics(self._task, self._labels)
        for _, part in self._parts:
            joined.merge(part)
        return joined

    def to_value(self, now_s: float) -> dict[str, Any]:
        """Plain values for JSON: both windows, the last hour in one piece."""
        begun_s = self._parts[0][0] if self._parts else now_s
        return {
            HOUR: self.hour(now_s).to_value(),
            "hour_age_s": max(0.0, now_s - begun_s),
            SINCE_START: self.since_start.to_value(),
        }

    @classmethod
    def read(
        cls, fields: Fields, *, task: Task, labels: tuple[str, ...], where: str, now_s: float, asleep_s: float
    ) -> Windows:
        """What an earlier run knew.

        Args:
            fields: of `to_value`.
            task: of the model.
            labels: of the model.
            where: named in error messages.
            now_s: time of this run.
            asleep_s: how long ago it was written; what is older than an hour then is left out.

        Raises:
            BundleError: statistics cannot be read.
        """
        made = cls(task, labels)
        hour, age_s, all_time = fields.free(HOUR), fields.number("hour_age_s"), fields.free(SINCE_START)
        if hour is None or age_s is None or all_time is None:
            return made
        made.since_start = Statistics.from_value(all_time, task=task, labels=labels, where=where)
        part = Statistics.from_value(hour, task=task, labels=labels, where=where)
        if part.images and asleep_s < HOUR_S:
            # In one piece it leaves as a whole, an hour after it was written.
            made._parts.append((now_s - asleep_s, part))
        return made

    def _forget(self, now_s: float) -> None:
        while self._parts and now_s - self._parts[0][0] >= HOUR_S:
            self._parts.popleft()
