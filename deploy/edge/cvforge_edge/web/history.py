"""How fast the run was over the last minutes, second by second, so that a page shows graphs as soon as it opens."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import Any

from cvforge_edge.status import RunStatus, StatusBoard

SAMPLE_EVERY_S = 1.0
KEPT_SAMPLES = 300
SILENT_AFTER_S = 3.0
"""A status that nobody has written for so long says nothing about now."""
JOIN_TIMEOUT_S = 0.3
Sample = tuple[int, list[float] | None, float | None, float | None]


class History:
    """Samples a status board on a thread of its own.

    Args:
        board: what is sampled.
    """

    def __init__(self, board: StatusBoard) -> None:
        self._board = board
        self._lock = threading.Lock()
        self._samples: deque[Sample] = deque(maxlen=KEPT_SAMPLES)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="web history", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop sampling; may be called twice."""
        self._closing.set()
        self._thread.join(JOIN_TIMEOUT_S)

    def since(self, number: int) -> dict[str, Any]:
        """Samples after a number, the oldest first.

        Each is `[number, frames a second of each camera, p50, p95]` with the age of a result (from capture to the end of
        the pipeline) in ms; nulls where there is no figure.
        """
        with self._lock:
            newest = self._samples[-1][0] if self._samples else 0
            chosen = [sample for sample in self._samples if sample[0] > number or number > newest]
        return {"every_s": SAMPLE_EVERY_S, "kept": KEPT_SAMPLES, "newest": newest, "samples": chosen}

    def _run(self) -> None:
        number = 0
        while not self._closing.wait(SAMPLE_EVERY_S):
            number += 1
            sample = sample_of(self._board.snapshot(), number, now_s=time.monotonic())
            with self._lock:
                self._samples.append(sample)


def sample_of(status: RunStatus, number: int, *, now_s: float) -> Sample:
    """One sample of a status; without figures where nobody writes it any more."""
    if status.written_s is None or now_s - status.written_s > SILENT_AFTER_S:
        return number, None, None, None
    rates = [round(camera.fps, 2) for camera in status.cameras]
    age = status.latency.get("age")
    if age is None or not any(rates):
        return number, rates, None, None
    return number, rates, round(age.p50_ms, 1), round(age.p95_ms, 1)
