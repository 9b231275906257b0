"""The status of a run in Prometheus' text format 0.0.4.

Source of the format: https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from cvforge_edge import __version__
from cvforge_edge.latency import StageLatency
from cvforge_edge.records import dataclass
from cvforge_edge.status import CameraStatus, Gauge, RunStatus
from cvforge_edge.web.health import problem

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
STATES = ("connecting", "live", "stalled", "lost", "closed")
QUANTILES = (("0.5", "p50_ms"), ("0.95", "p95_ms"), ("0.99", "p99_ms"))
Samples = Iterable[tuple[Mapping[str, object], float | int]]


@dataclass(frozen=True)
class WebCounts:
    """What the server itself has counted.

    Attributes:
        streams: clients that get live pictures now.
        connections: open ones.
        encoded: pictures made since the start.
        refused: wrong tokens since the start.
    """

    streams: int
    connections: int
    encoded: int
    refused: int


def metrics_text(
    status: RunStatus,
    *,
    now_s: float,
    now_unix_s: float,
    events: Mapping[tuple[str, str, str], int],
    web: WebCounts,
) -> str:
    """What `/metrics` answers.

    Args:
        status: as the board has it.
        now_s: `time.monotonic()`.
        now_unix_s: `time.time()`.
        events: how many, by source, rule and kind.
        web: what the server counts.
    """
    parts = [
        *_run(status, now_s=now_s, now_unix_s=now_unix_s),
        *_cameras(status.cameras, now_s=now_s),
        *_latency(status.latency),
        _family(
            "cvforge_events_total",
            "counter",
            "Events that rules have found.",
            (({"source": source, "rule": rule, "kind": kind}, n) for (source, rule, kind), n in events.items()),
        ),
        *_gauges(status.gauges),
        _one("cvforge_web_streams", "gauge", "Clients that get a stream of pictures.", web.streams),
        _one("cvforge_web_connections", "gauge", "Open connections of the web server.", web.connections),
        _one("cvforge_web_pictures_total", "counter", "Pictures compressed for viewers.", web.encoded),
        _one("cvforge_web_refused_total", "counter", "Wrong tokens.", web.refused),
    ]
    return "".join(parts)


def _run(status: RunStatus, *, now_s: float, now_unix_s: float) -> list[str]:
    info = {
        "cvforge_version": __version__,
        "model": status.model,
        "model_version": status.version,
        "backend": status.backend,
    }
    healthy = int(problem(status, now_s=now_s) is None)
    parts = [
        _family("cvforge_info", "gauge", "What runs; always 1.", [(info, 1)]),
        _one("cvforge_healthy", "gauge", "1 while /healthz answers 200, else 0.", healthy),
        _one("cvforge_outputs", "gauge", "Places that results go to, this page among them.", len(status.outputs)),
    ]
    if status.written_s is not None:
        ago_s = max(0.0, now_s - status.written_s)
        parts.append(_one("cvforge_status_age_seconds", "gauge", "Since the pipeline last gave a sign of life.", ago_s))
    if status.started_unix_s > 0:
        start_unix_s = status.start_unix_s(now_s=now_s, now_unix_s=now_unix_s)
        parts.append(_one("process_start_time_seconds", "gauge", "Start of the process, since 1970.", start_unix_s))
    if status.memory_mb is not None:
        memory_bytes = status.memory_mb * 1e6
        parts.append(_one("process_resident_memory_bytes", "gauge", "Resident memory of the process.", memory_bytes))
    return parts


def _cameras(cameras: tuple[CameraStatus, ...], *, now_s: float) -> list[str]:
    labels = [{"camera": number, "name": camera.name} for number, camera in enumerate(cameras)]
    pairs = list(zip(labels, cameras, strict=True))
    states = (({**label, "state": state}, int(camera.state == state)) for label, camera in pairs for state in STATES)
    ages = ((label, now_s - camera.captured_s) for label, camera in pairs if camera.captured_s is not None)
    return [
        _family("cvforge_frames_total", "counter", "Results.", ((n, c.frames) for n, c in pairs)),
        _family(
            "cvforge_frames_dropped_total",
            "counter",
            "Frames that a newer one replaced before the model had time.",
            ((n, c.dropped) for n, c in pairs),
        ),
        _family("cvforge_reconnects_total", "counter", "Lost and back again.", ((n, c.reconnects) for n, c in pairs)),
        _family(
            "cvforge_camera_hangs_total",
            "counter",
            "A driver or network library hung, and its thread was given up.",
            ((n, c.hanging) for n, c in pairs),
        ),
        _family("cvforge_frames_per_second", "gauge", "Results a second, last 5 s.", ((n, c.fps) for n, c in pairs)),
        _family("cvforge_camera_state", "gauge", "1 for the state that the camera is in, else 0.", states),
        _family("cvforge_picture_age_seconds", "gauge", "Since the newest result's picture was taken.", ages),
    ]


def _latency(latency: Mapping[str, StageLatency]) -> list[str]:
    name = "cvforge_stage_duration_seconds"
    lines = [_head(name, "summary", "Duration of each stage; quantiles over the last 5 s, age is capture to result.")]
    for stage, figures in latency.items():
        for quantile, field in QUANTILES:
            value_ms = getattr(figures, field)
            if value_ms is not None:
                lines.append(_line(name, {"stage": stage, "quantile": quantile}, value_ms / 1000))
        lines.append(_line(f"{name}_sum", {"stage": stage}, figures.total_s))
        lines.append(_line(f"{name}_count", {"stage": stage}, figures.count))
    return lines if latency else []


def _gauges(gauges: Iterable[Gauge]) -> list[str]:
    """What sinks count; all numbers of one name stand together, as the format wants it."""
    families: dict[str, list[Gauge]] = {}
    for gauge in gauges:
        families.setdefault(gauge.name, []).append(gauge)
    return [
        _family(
            name, "counter" if found[0].counts else "gauge", found[0].text, ((dict(g.labels), g.value) for g in found)
        )
        for name, found in families.items()
    ]


def _one(name: str, kind: str, text: str, value: float | int) -> str:
    return _family(name, kind, text, [({}, value)])


def _family(name: str, kind: str, text: str, samples: Samples) -> str:
    lines = [_line(name, labels, value) for labels, value in samples]
    return "".join([_head(name, kind, text), *lines]) if lines else ""


def _head(name: str, kind: str, text: str) -> str:
    return f"# HELP {name} {text}\n# TYPE {name} {kind}\n"


def _line(name: str, labels: Mapping[str, object], value: float | int) -> str:
    inside = ",".join(f'{key}="{_escaped(str(text))}"' for key, text in labels.items())
    return f"{name}{{{inside}}} {value!r}\n" if inside else f"{name} {value!r}\n"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
