"""How long one image takes in an inference runtime, measured where the export runs."""

from __future__ import annotations

import statistics
import time
from typing import Any

import numpy as np
import numpy.typing as npt

WARM_UP_RUNS = 3
MAX_RUNS = 50
TIME_LIMIT_S = 2.0
MIN_RUNS = 5


def median_latency_ms(backend: Any, image_u8: npt.NDArray[np.uint8]) -> float:
    """Median time of `backend.run`, network only, in milliseconds.

    Args:
        backend: `cvforge_edge.backends.Backend`, opened with one thread to be comparable.
        image_u8: (1, h, w, 3) uint8, a real input: the time of some runtimes depends on the values.
    """
    for _ in range(WARM_UP_RUNS):
        backend.run(image_u8)
    times_s: list[float] = []
    started = time.perf_counter()
    while len(times_s) < MIN_RUNS or (len(times_s) < MAX_RUNS and time.perf_counter() - started < TIME_LIMIT_S):
        before = time.perf_counter()
        backend.run(image_u8)
        times_s.append(time.perf_counter() - before)
    return statistics.median(times_s) * 1000
