"""How long each stage of the pipeline takes, in memory that does not grow with the days."""

from __future__ import annotations

import math
import threading
from collections import deque
from dataclasses import dataclass

KEPT_SAMPLES = 4096
"""Percentiles are those of the newest samples."""


@dataclass(frozen=True)
class StageLatency:
    """Half and 95 % of a stage's newest runs took at most this long, in milliseconds."""

    p50_ms: float
    p95_ms: float


class LatencyRecorder:
    """Collects durations by stage, from any number of threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._samples_s: dict[str, deque[float]] = {}

    def add(self, stage: str, duration_s: float) -> None:
        """Note that a stage took so many seconds."""
        with self._lock:
            self._samples_s.setdefault(stage, deque(maxlen=KEPT_SAMPLES)).append(duration_s)

    def percentiles(self) -> dict[str, StageLatency]:
        """The figures of each stage, in the order in which stages were first seen."""
        figures = {}
        with self._lock:
            taken = {stage: list(samples) for stage, samples in self._samples_s.items()}
        for stage, samples in taken.items():
            ordered = sorted(samples)
            figures[stage] = StageLatency(p50_ms=_percentile(ordered, 0.50), p95_ms=_percentile(ordered, 0.95))
        return figures


def _percentile(ordered_s: list[float], share: float) -> float:
    """Milliseconds that this share of the ordered samples did not exceed: the nearest rank."""
    return ordered_s[max(0, math.ceil(share * len(ordered_s)) - 1)] * 1000
