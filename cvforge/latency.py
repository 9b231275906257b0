"""How long one image takes a network in this process: of the checkpoint, in the report of a run and beside an export."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

WARM_UP_RUNS = 3
MAX_RUNS = 50
TIME_LIMIT_S = 2.0
MIN_RUNS = 5


@dataclass(frozen=True)
class Latency:
    """Times of one call, in milliseconds.

    Attributes:
        median_ms: half of the calls were faster.
        low_ms: a quarter of them were faster.
        high_ms: three quarters of them were faster.
        runs: calls that were timed.
    """

    median_ms: float
    low_ms: float
    high_ms: float
    runs: int


def measure_latency(call: Callable[[], object]) -> Latency:
    """The time of a call in this process, with one thread in PyTorch; a few calls before warm it up."""
    with _one_torch_thread():
        for _ in range(WARM_UP_RUNS):
            call()
        times_ms: list[float] = []
        started = time.perf_counter()
        while len(times_ms) < MIN_RUNS or (len(times_ms) < MAX_RUNS and time.perf_counter() - started < TIME_LIMIT_S):
            before = time.perf_counter()
            call()
            times_ms.append((time.perf_counter() - before) * 1000)
    low_ms, median_ms, high_ms = statistics.quantiles(times_ms, n=4, method="inclusive")
    return Latency(median_ms, low_ms, high_ms, len(times_ms))


def median_latency_ms(backend: Any, image_u8: npt.NDArray[np.uint8]) -> float:
    """Median time of `backend.run`, network only, in this process, with one thread in PyTorch, in milliseconds.

    Args:
        backend: `cvforge_edge.backends.Backend`; a runtime with threads of its own is opened with one.
        image_u8: (1, h, w, 3) uint8, a real input: the time of some runtimes depends on the values.
    """
    return measure_latency(lambda: backend.run(image_u8)).median_ms


@contextlib.contextmanager
def _one_torch_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
