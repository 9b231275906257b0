"""Keeps the status of a run up to date: fed by the pipeline with a few calls, at a cost that no frame notices."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from cvforge_edge.records import dataclass
from cvforge_edge.status import CameraStatus, Gauged, StatusBoard

if TYPE_CHECKING:
    from cvforge_edge.frame import Result
    from cvforge_edge.inbox import Inbox
    from cvforge_edge.latency import LatencyRecorder
    from cvforge_edge.sinks.sink import Sink
    from cvforge_edge.sources.source import Source

WRITE_EVERY_S = 0.5
WINDOW_S = 5.0
"""Frames a second and latencies are those of so many seconds."""
MIN_LATENCY_SAMPLES = 20
MAX_LATENCY_SAMPLES = 512
"""Sorting these costs less than a thousandth of a core."""
PROC_STATUS = Path("/proc/self/status")


@dataclass
class _Camera:
    """What is known of one source between two writes."""

    frames: int = 0
    age_ms: float | None = None
    result_s: float | None = None
    captured_s: float | None = None
    state: str = "connecting"
    state_since_s: float = 0.0


class StatusWriter:
    """Writes a `StatusBoard` about twice a second; any thread may note results."""

    def __init__(self, board: StatusBoard, *, inbox: Inbox, sinks: Sequence[Sink], recorder: LatencyRecorder) -> None:
        """Begin; the first status is written at once.

        Args:
            board: where the status goes; the fields about the model are set by others and stay.
            inbox: asked for its sources, which are known by their numbers, and for what it dropped.
            sinks: asked for their summaries.
            recorder: asked for its percentiles.
        """
        self._board, self._inbox, self._sinks, self._recorder = board, inbox, sinks, recorder
        self._gauged = [sink for sink in sinks if isinstance(sink, Gauged)]
        self._lock = threading.Lock()
        now_s = time.monotonic()
        self._cameras = [_Camera(state_since_s=now_s) for _ in inbox.sources]
        self._events = 0
        self._due_s = now_s
        self._counts: deque[tuple[float, tuple[int, ...]]] = deque(maxlen=round(WINDOW_S / WRITE_EVERY_S) + 1)
        self.write_if_due()

    def note(self, camera: int, result: Result, *, done_s: float) -> None:
        """Note a complete result.

        Args:
            camera: place of its source.
            result: with the events that rules found.
            done_s: `time.monotonic()` when it was complete.
        """
        captured_s = result.frame.captured_s
        with self._lock:
            known = self._cameras[camera]
            known.frames += 1
            known.age_ms = (done_s - captured_s) * 1000
            known.result_s, known.captured_s = done_s, captured_s
            self._events += len(result.events)

    def write_if_due(self) -> None:
        """Write the board, if the last time is long enough ago; call it at least as often, also while no frame comes."""
        if time.monotonic() >= self._due_s:
            self._write("running")

    def close(self) -> None:
        """Write the board for the last time."""
        self._write("ended")

    def _write(self, phase: str) -> None:
        with self._lock:
            now_s = time.monotonic()
            self._due_s = now_s + WRITE_EVERY_S
            self._counts.append((now_s, tuple(camera.frames for camera in self._cameras)))
            rates = self._frames_per_second()
            inbox = self._inbox
            known = zip(inbox.sources, self._cameras, inbox.dropped, inbox.waiting_since_s, rates, strict=True)
            cameras = tuple(
                replace(_camera_status(source, camera, now_s=now_s), dropped=dropped, waiting_since_s=since_s, fps=fps)
                for source, camera, dropped, since_s, fps in known
            )
            samples = min(MAX_LATENCY_SAMPLES, max(MIN_LATENCY_SAMPLES, round(sum(rates) * WINDOW_S)))
            self._board.update(
                phase=phase,
                written_s=now_s,
                cameras=cameras,
                latency=self._recorder.percentiles(newest=samples),
                memory_mb=resident_memory_mb(),
                events=self._events,
                outputs=tuple(summary for sink in self._sinks if (summary := sink.summary())),
                gauges=tuple(gauge for sink in self._gauged for gauge in sink.gauges()),
            )

    def _frames_per_second(self) -> list[float]:
        """Of each camera over the last `WINDOW_S`."""
        (first_s, first), (last_s, last) = self._counts[0], self._counts[-1]
        seconds = last_s - first_s
        return [(new - old) / seconds if seconds > 0 else 0.0 for old, new in zip(first, last, strict=True)]


def resident_memory_mb() -> float | None:
    """Resident memory of this process in MB of 10^6 bytes, or None where the system does not say (no Linux)."""
    try:
        text = PROC_STATUS.read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    for line in text.splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024 / 1e6
    return None


def _camera_status(source: Source, camera: _Camera, *, now_s: float) -> CameraStatus:
    state = _state(source)
    if state != camera.state:
        camera.state, camera.state_since_s = state, now_s
    return CameraStatus(
        name=source.name,
        state=state,
        frames=camera.frames,
        reconnects=getattr(source, "reconnects", 0),
        age_ms=camera.age_ms,
        state_since_s=camera.state_since_s,
        result_s=camera.result_s,
        captured_s=camera.captured_s,
        hanging=getattr(source, "hanging", 0),
    )


def _state(source: Source) -> str:
    """Cameras and streams say it; a file is there until it ends."""
    state: str = getattr(source, "state", "live")
    return "closed" if source.ended else state
