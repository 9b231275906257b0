"""Figures of answers since they were told last: what would be several lines a request becomes a few a moment."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator

from cvforge_edge.records import dataclass
from cvforge_server.core import MS_PER_S
from cvforge_server.reply import Reply

STAGE_SECONDS, REPLIES, OBJECTS = "cvforge_stage_seconds", "cvforge_replies_total", "cvforge_objects_total"
BUCKET, SUM, COUNT = f"{STAGE_SECONDS}_bucket", f"{STAGE_SECONDS}_sum", f"{STAGE_SECONDS}_count"
BOUNDARIES_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Of the histogram of stages; the last bucket has no end."""
LABELS = {
    REPLIES: ("model", "status"),
    OBJECTS: ("model",),
    BUCKET: ("model", "stage", "le"),
    SUM: ("model", "stage"),
    COUNT: ("model", "stage"),
}
"""Counters by name, each with its labels; the last three are what Prometheus makes of a histogram."""
DECIMALS = 6


@dataclass(frozen=True)
class Increase:
    """What a counter has grown by.

    Attributes:
        name: of the counter.
        labels: their values, in the order of `LABELS`.
        by: above 0.
    """

    name: str
    labels: tuple[str, ...]
    by: float


class Tally:
    """Counts replies by status, their objects, and how long stages took; may be used from several threads.

    Args:
        model: name under which it is served.
    """

    def __init__(self, *, model: str) -> None:
        self._model = model
        self._lock = threading.Lock()
        self._counted: Counter[tuple[str, tuple[str, ...]]] = Counter()
        self._times_s: dict[str, list[float]] = {}

    def note(self, reply: Reply) -> None:
        """Count one reply."""
        with self._lock:
            self._counted[REPLIES, (self._model, str(reply.status))] += 1
            self._counted[OBJECTS, (self._model,)] += reply.objects
            for stage, ms in reply.times_ms.items():
                self._times_s.setdefault(stage, []).append(ms / MS_PER_S)

    def take(self) -> list[Increase]:
        """All increases since the last call, each counter once."""
        with self._lock:
            counted, self._counted = self._counted, Counter()
            times_s, self._times_s = self._times_s, {}
        increases = [Increase(name, labels, by) for (name, labels), by in counted.items() if by]
        return increases + [more for stage, found in times_s.items() for more in self._of_stage(stage, found)]

    def _of_stage(self, stage: str, times_s: list[float]) -> Iterator[Increase]:
        """A bucket counts what took at most its boundary, so that each holds those before it."""
        at_most = Counter(bisect_left(BOUNDARIES_S, time_s) for time_s in times_s)
        below = 0
        for number, boundary in enumerate((*BOUNDARIES_S, None)):
            below += at_most[number]
            if below:
                yield Increase(BUCKET, (self._model, stage, "+Inf" if boundary is None else f"{boundary:g}"), below)
        yield Increase(SUM, (self._model, stage), round(sum(times_s), DECIMALS))
        yield Increase(COUNT, (self._model, stage), len(times_s))
