"""How long each stage of the pipeline takes, in memory that does not grow with the days."""

from __future__ import annotations

import math
import threading
from collections import deque
from itertools import islice

from cvforge_edge.records import dataclass

KEPT_SAMPLES = 4096
"""Percentiles are those of the newest samples."""
STAGES = ("decode", "queue", "wait", "predict", "prepare", "network", "finish", "steps", "write", "age")
"""Of a run, in the order in which they are shown: `decode` of a picture (of a camera the processor time of its thread, since
the rest is waiting for the picture), `queue` of a decoded frame for a session, `wait` of a session for a frame, `predict` and
its parts `prepare` (picture to input), `network` and `finish` (outputs to prediction), `steps` after it (tracking, rules),
`write` to all outputs, and `age` of the picture when its result is stored."""


@dataclass(frozen=True)
class PredictTimes:
    """How long the parts of one prediction took, in seconds; names as in `STAGES`."""

    prepare_s: float
    network_s: float
    finish_s: float


@dataclass(frozen=True)
class StageLatency:
    """How long the newest runs of a stage took, in milliseconds, and how many there were in all.

    Attributes:
        p50_ms: half of the newest runs took at most this long.
        p95_ms: 95 % of them.
        p99_ms: 99 % of them; None where it was not measured.
        count: runs since the start.
        total_s: how long all of those took together.
    """

    p50_ms: float
    p95_ms: float
    p99_ms: float | None = None
    count: int = 0
    total_s: float = 0.0


class LatencyRecorder:
    """Collects durations by stage, from any number of threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._samples_s: dict[str, deque[float]] = {}
        self._counts: dict[str, int] = {}
        self._totals_s: dict[str, float] = {}

    def add(self, stage: str, duration_s: float) -> None:
        """Note that a stage took so many seconds."""
        with self._lock:
            self._samples_s.setdefault(stage, deque(maxlen=KEPT_SAMPLES)).append(duration_s)
            self._counts[stage] = self._counts.get(stage, 0) + 1
            self._totals_s[stage] = self._totals_s.get(stage, 0.0) + duration_s

    def add_parts(self, times: PredictTimes) -> None:
        """Note how long the parts of one prediction took."""
        self.add("prepare", times.prepare_s)
        self.add("network", times.network_s)
        self.add("finish", times.finish_s)

    def percentiles(self, *, newest: int = KEPT_SAMPLES) -> dict[str, StageLatency]:
        """The figures of each stage, in the order of `STAGES`, others after them.

        Args:
            newest: percentiles are those of so many runs at most; at least 1.
        """
        figures = {}
        with self._lock:
            taken = {stage: list(islice(reversed(samples), newest)) for stage, samples in self._samples_s.items()}
            counts, totals_s = dict(self._counts), dict(self._totals_s)
        for stage in sorted(taken, key=_place):
            samples = taken[stage]
            ordered = sorted(samples)
            figures[stage] = StageLatency(
                p50_ms=_percentile(ordered, 0.50),
                p95_ms=_percentile(ordered, 0.95),
                p99_ms=_percentile(ordered, 0.99),
                count=counts[stage],
                total_s=totals_s[stage],
            )
        return figures


def _place(stage: str) -> int:
    return STAGES.index(stage) if stage in STAGES else len(STAGES)


def _percentile(ordered_s: list[float], share: float) -> float:
    """Milliseconds that this share of the ordered samples did not exceed: the nearest rank."""
    return ordered_s[max(0, math.ceil(share * len(ordered_s)) - 1)] * 1000
