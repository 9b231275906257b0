"""The status of a run as the page reads it: durations instead of times, so that no clock has to agree with another."""

from __future__ import annotations

import math
from typing import Any

from cvforge_edge.latency import StageLatency
from cvforge_edge.status import CameraStatus, Gauge, RunStatus
from cvforge_edge.web.health import problem


def status_document(
    status: RunStatus, *, now_s: float, now_unix_s: float, newest_event: int, streams: int
) -> dict[str, Any]:
    """What `/status.json` answers; docs/web.md lists the keys.

    Args:
        status: as the board has it.
        now_s: `time.monotonic()`.
        now_unix_s: `time.time()`.
        newest_event: number of the newest event.
        streams: clients that get live pictures.
    """
    return {
        "run": f"{status.started_unix_s:.3f}",
        "phase": status.phase,
        "problem": problem(status, now_s=now_s),
        "model": status.model,
        "version": status.version,
        "backend": status.backend,
        "started_unix_s": round(status.start_unix_s(now_s=now_s, now_unix_s=now_unix_s), 3),
        "running_s": _since(status.started_s or None, now_s),
        "written_ago_s": _since(status.written_s, now_s),
        "cameras": [_camera(number, camera, now_s) for number, camera in enumerate(status.cameras)],
        "latency_ms": {stage: _latency(latency) for stage, latency in status.latency.items()},
        "memory_mb": _rounded(status.memory_mb),
        "events": status.events,
        "newest_event": newest_event,
        "outputs": list(status.outputs),
        "gauges": [_gauge(gauge) for gauge in status.gauges],
        "streams": streams,
    }


def _camera(number: int, camera: CameraStatus, now_s: float) -> dict[str, Any]:
    return {
        "camera": number,
        "name": camera.name,
        "state": camera.state,
        "state_for_s": _since(camera.state_since_s, now_s),
        "frames": camera.frames,
        "dropped": camera.dropped,
        "reconnects": camera.reconnects,
        "hanging": camera.hanging,
        "fps": _rounded(camera.fps),
        "age_ms": _rounded(camera.age_ms),
        "result_ago_s": _since(camera.result_s, now_s),
        "captured_ago_s": _since(camera.captured_s, now_s),
    }


def _gauge(gauge: Gauge) -> dict[str, Any]:
    return {"name": gauge.name, "text": gauge.text, "value": _rounded(gauge.value), "labels": dict(gauge.labels)}


def _latency(latency: StageLatency) -> dict[str, float | int | None]:
    return {
        "p50": _rounded(latency.p50_ms),
        "p95": _rounded(latency.p95_ms),
        "p99": _rounded(latency.p99_ms),
        "count": latency.count,
    }


def _since(moment_s: float | None, now_s: float) -> float | None:
    return None if moment_s is None else _rounded(max(0.0, now_s - moment_s))


def _rounded(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else round(value, 2)
