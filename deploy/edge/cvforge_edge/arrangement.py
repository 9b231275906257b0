"""How many copies of a model run side by side, and with how many threads each: guessed at once, or measured."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

from cvforge_edge.records import dataclass

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from cvforge_edge.backends import Backend

MAX_SESSIONS = 8
MAX_GUESSED = 4
"""Sessions that are opened without having measured: each costs memory."""
MEASURE_S = 0.25
ROUNDS = 2
WORTH = 1.03
"""An arrangement with more sessions must be faster by this factor than one with fewer."""


@dataclass(frozen=True)
class Arrangement:
    """Sessions of one model that work in parallel.

    Attributes:
        sessions: how many, at least 1.
        threads: processor threads of each, at least 1.
    """

    sessions: int
    threads: int

    @property
    def size(self) -> tuple[int, int]:
        """Sessions and threads: by this arrangements are sorted."""
        return self.sessions, self.threads

    def __str__(self) -> str:
        sessions = "1 session" if self.sessions == 1 else f"{self.sessions} sessions"
        return f"{sessions} of {'1 thread' if self.threads == 1 else f'{self.threads} threads'}"


@dataclass(frozen=True)
class Measured:
    """What `fastest_arrangement` found.

    Attributes:
        best: to be used.
        runs_per_s: of the network alone, by arrangement: the better one of two rounds.
    """

    best: Arrangement
    runs_per_s: dict[Arrangement, float]

    def __str__(self) -> str:
        others = ", ".join(f"{one}: {rate:.0f}/s" for one, rate in self.runs_per_s.items())
        return f"{self.best} (measured {others})"


def available_cores() -> int:
    """Processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def guessed_arrangement(cores: int, *, live_sources: int, frames: int | None) -> Arrangement:
    """What is good without a measurement.

    A file is to be done soon: one session of one thread for each core, which wastes nothing on waiting for one another.
    Of a camera the newest frame is to be done soon: half of the cores, together, and one session for each camera.

    Args:
        cores: that may be used.
        live_sources: cameras and streams; 0 where all sources are files.
        frames: in all files together; None when unknown.
    """
    if live_sources:
        sessions = max(1, min(live_sources, cores, MAX_GUESSED))
        return Arrangement(sessions, max(1, min(4, cores // 2 // sessions)))
    return Arrangement(max(1, min(cores, MAX_GUESSED, frames or MAX_GUESSED)), 1)


def candidates(cores: int) -> list[Arrangement]:
    """Arrangements that keep at most so many cores busy, those with few sessions first.

    With one thread every number of sessions, with more only those that use all cores up: between those lie no surprises.
    """
    found = {Arrangement(sessions, 1) for sessions in range(1, min(cores, MAX_SESSIONS) + 1)}
    found |= {Arrangement(cores // threads, threads) for threads in range(2, cores + 1) if cores % threads == 0}
    return sorted((one for one in found if one.sessions <= MAX_SESSIONS), key=lambda one: one.size)


def fastest_arrangement(
    open_model: Callable[[int], Backend], *, input_hw: tuple[int, int], cores: int, measure_s: float = MEASURE_S
) -> Measured:
    """Run the network alone in every arrangement, in rounds that take turns, and choose.

    Args:
        open_model: opens the model with so many threads.
        input_hw: height and width of its input, in pixels.
        cores: that may be used.
        measure_s: how long each arrangement runs in each round; at least three times the network's own time.

    Raises:
        BackendError: the model fails.
    """
    import numpy as np

    image_u8 = np.random.default_rng(0).integers(0, 256, (1, *input_hw, 3), dtype=np.uint8)
    rates: dict[Arrangement, float] = {}
    for _ in range(ROUNDS):
        for arrangement in candidates(cores):
            with ExitStack() as resources:
                models = [open_model(arrangement.threads) for _ in range(arrangement.sessions)]
                for model in models:
                    resources.callback(model.close)
                rate = _runs_per_s(models, image_u8, measure_s=measure_s)
            rates[arrangement] = max(rate, rates.get(arrangement, 0.0))
    return Measured(choose(rates), rates)


def choose(rates: dict[Arrangement, float]) -> Arrangement:
    """The fastest; of nearly equal ones that with the fewest sessions, and among those the fewest threads."""
    worthy = [one for one, rate in rates.items() if rate * WORTH >= max(rates.values())]
    return min(worthy, key=lambda one: one.size)


def _runs_per_s(models: Sequence[Backend], image_u8: npt.NDArray[np.uint8], *, measure_s: float) -> float:
    """Of all models together, each on a thread of its own."""
    ends_s: list[list[float]] = [[] for _ in models]
    failures: list[BaseException] = []
    barrier = threading.Barrier(len(models))

    def work(model: Backend, done_s: list[float]) -> None:
        try:
            model.run(image_u8)  # the first run also allocates
            barrier.wait()
            until_s = time.monotonic() + measure_s
            done_s.append(time.monotonic())
            while done_s[-1] < until_s or len(done_s) < 4:
                model.run(image_u8)
                done_s.append(time.monotonic())
        except threading.BrokenBarrierError:
            return
        except BaseException as error:  # raised again by the calling thread
            failures.append(error)
            barrier.abort()

    threads = [threading.Thread(target=work, args=pair, daemon=True) for pair in zip(models, ends_s, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return sum((len(done_s) - 1) / (done_s[-1] - done_s[0]) for done_s in ends_s)
