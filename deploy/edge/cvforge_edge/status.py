"""What a run is doing right now: written by the pipeline, read by the web page, the metrics and the watchdog."""

from __future__ import annotations

import threading
from dataclasses import field, replace
from typing import Any, Protocol, runtime_checkable

from cvforge_edge.latency import StageLatency
from cvforge_edge.records import dataclass

CLOCK_SET_S = 60.0
"""A clock that is off by less has drifted; one that is off by more has been set."""


@dataclass(frozen=True)
class CameraStatus:
    """One camera, stream or file.

    Attributes:
        name: without passwords.
        state: `connecting`, `live`, `stalled`, `lost` or `closed`.
        frames: results so far.
        dropped: frames that were replaced by a newer one before the model had time for them.
        reconnects: how often the connection was lost and came back.
        fps: results a second over the last seconds.
        age_ms: of the last shown picture, from capture to result; None before the first.
        state_since_s: `time.monotonic()` at the moment when the state began; None when unknown.
        result_s: likewise, when the newest result was complete; None before the first.
        captured_s: likewise, when its picture was taken.
        waiting_since_s: likewise, since when a frame that is wanted waits for a result; None while none waits.
        hanging: how often a driver or network library hung, and its thread was given up.
    """

    name: str
    state: str
    frames: int = 0
    dropped: int = 0
    reconnects: int = 0
    fps: float = 0.0
    age_ms: float | None = None
    state_since_s: float | None = None
    result_s: float | None = None
    captured_s: float | None = None
    waiting_since_s: float | None = None
    hanging: int = 0

    def line(self) -> str:
        """For the summary at the end of a run."""
        counts = ((self.dropped, "dropped"), (self.reconnects, "reconnects"), (self.hanging, "hung"))
        parts = [f"{self.frames} frames", *(f"{count} {what}" for count, what in counts if count)]
        return f"{self.name}: {self.state}, {', '.join(parts)}"


@dataclass(frozen=True)
class Gauge:
    """A number that a sink wants to see in graphs.

    Attributes:
        name: as Prometheus takes it.
        text: what it means, one sentence.
        value: now.
        labels: pairs of name and value that tell numbers of one name apart.
        counts: whether it only grows; its name then ends in `_total`.
    """

    name: str
    text: str
    value: float
    labels: tuple[tuple[str, str], ...] = ()
    counts: bool = False


@runtime_checkable
class Gauged(Protocol):
    """A sink that has numbers for graphs."""

    def gauges(self) -> tuple[Gauge, ...]:
        """Those of this moment; called about twice a second."""


@dataclass(frozen=True)
class RunStatus:
    """A whole run.

    Attributes:
        phase: `starting` until the model is loaded and the cameras are open, then `running`, and `ended`.
        model: name of the bundle.
        version: of the bundle.
        backend: that runs it, and the file.
        started_unix_s: when the program began, seconds since 1970; 0 when unknown.
        started_s: likewise, as `time.monotonic()` tells it.
        written_s: `time.monotonic()` when the pipeline last wrote this; None before it begins.
        cameras: in the order in which the user named them.
        latency: by stage, over the last frames; see `cvforge_edge.latency`.
        memory_mb: resident memory of the process, MB of 10^6 bytes; None where the system does not say.
        events: how many since the start.
        outputs: one line for each sink: what it has taken, what waits, what failed.
        gauges: numbers of sinks that have some.
    """

    phase: str = "starting"
    model: str = ""
    version: int = 0
    backend: str = ""
    started_unix_s: float = 0.0
    started_s: float = 0.0
    written_s: float | None = None
    cameras: tuple[CameraStatus, ...] = ()
    latency: dict[str, StageLatency] = field(default_factory=dict)
    memory_mb: float | None = None
    events: int = 0
    outputs: tuple[str, ...] = ()
    gauges: tuple[Gauge, ...] = ()

    def start_unix_s(self, *, now_s: float, now_unix_s: float) -> float:
        """When the program began by the clock as it goes now: a device without a battery starts in 1970, and is set later.

        Args:
            now_s: `time.monotonic()`.
            now_unix_s: `time.time()`.
        """
        if self.started_unix_s <= 0 or self.started_s <= 0:
            return self.started_unix_s
        started_unix_s = now_unix_s - (now_s - self.started_s)
        return self.started_unix_s if abs(started_unix_s - self.started_unix_s) < CLOCK_SET_S else round(started_unix_s)


class StatusBoard:
    """The newest status of a run, for any number of threads.

    Args:
        status: to begin with.
    """

    def __init__(self, status: RunStatus) -> None:
        self._lock = threading.Lock()
        self._status = status

    def update(self, **changes: Any) -> None:
        """Replace some fields of the status."""
        with self._lock:
            self._status = replace(self._status, **changes)

    def snapshot(self) -> RunStatus:
        """The status as it was last written."""
        with self._lock:
            return self._status
