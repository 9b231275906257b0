"""How long one image takes a network in this process: the checkpoint, beside which the costs of files are shown."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

WARM_UP_RUNS = 3
MAX_RUNS = 50
TIME_LIMIT_S = 2.0
MIN_RUNS = 5


def median_latency_ms(backend: Any, image_u8: npt.NDArray[np.uint8]) -> float:
    """Median time of `backend.run`, network only, in this process, with one thread in PyTorch, in milliseconds.

    Args:
        backend: `cvforge_edge.backends.Backend`; a runtime with threads of its own is opened with one.
        image_u8: (1, h, w, 3) uint8, a real input: the time of some runtimes depends on the values.
    """
    with _one_torch_thread():
        for _ in range(WARM_UP_RUNS):
            backend.run(image_u8)
        times_s: list[float] = []
        started = time.perf_counter()
        while len(times_s) < MIN_RUNS or (len(times_s) < MAX_RUNS and time.perf_counter() - started < TIME_LIMIT_S):
            before = time.perf_counter()
            backend.run(image_u8)
            times_s.append(time.perf_counter() - before)
    return statistics.median(times_s) * 1000


@contextlib.contextmanager
def _one_torch_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
