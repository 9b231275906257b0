"""What one model file costs on one machine, as types and as JSON.

A file that was measured:
```
{"backend": "litert", "rounds": 3,
 "cold_start_ms": {"median": 310.0, "low": 301.2, "high": 340.9},
 "memory_mb": {"median": 95.1, "low": 95.0, "high": 95.3},
 "latencies": [{"threads": 1, "runs": 90, "network_ms": {"p50": 8.1, "p95": 8.9}, "pipeline_ms": {"p50": 9.0, "p95": 9.9},
                "round_p50_ms": {"median": 8.1, "low": 8.0, "high": 8.6}}, ...]}
```
and one that was not: `{"not_measured": "the reason"}`.
"""

from __future__ import annotations

from typing import Any

from cvforge_edge.errors import SpecError
from cvforge_edge.latency import StageLatency
from cvforge_edge.records import dataclass
from cvforge_edge.strict_json import Fields

DECIMALS = 3


@dataclass(frozen=True)
class Spread:
    """A quantity that was taken once a round: its median, and its lowest and highest round.

    Raises:
        SpecError: the numbers are not in this order, or below 0.
    """

    median: float
    low: float
    high: float

    def __post_init__(self) -> None:
        if not 0 <= self.low <= self.median <= self.high:
            raise SpecError(
                f"found low {self.low!r}, median {self.median!r}, high {self.high!r}, accepted 0 <= low ..."
            )


@dataclass(frozen=True)
class ThreadLatency:
    """How long one image takes with one number of threads; the samples of all rounds together.

    Attributes:
        threads: of the inference runtime.
        runs: number of samples.
        network: the runtime's part.
        pipeline: preprocessing, network and postprocessing of one golden image.
        round_p50_ms: the network's p50 of every round: how far other work on the machine moved it.
    """

    threads: int
    runs: int
    network: StageLatency
    pipeline: StageLatency
    round_p50_ms: Spread


@dataclass(frozen=True)
class FileCost:
    """What one model file costs on one machine.

    Attributes:
        backend: name of the runtime in `BACKENDS`.
        rounds: number of processes that were measured.
        cold_start_ms: from the start of a process to its first prediction, files in the disk cache.
        memory_mb: largest resident memory of a process that runs the file with one thread, in 1e6 bytes.
        latencies: one a number of threads, fewest first.
    """

    backend: str
    rounds: int
    cold_start_ms: Spread
    memory_mb: Spread
    latencies: tuple[ThreadLatency, ...]

    def __post_init__(self) -> None:
        threads = [latency.threads for latency in self.latencies]
        if not threads or threads != sorted(set(threads)):
            raise SpecError(f"latencies: found those of {threads} threads, accepted one of each number, fewest first")

    @property
    def first(self) -> ThreadLatency:
        """With the fewest threads, which is one unless a user asked otherwise."""
        return self.latencies[0]

    @property
    def fastest(self) -> ThreadLatency:
        """With the number of threads that gives the lowest p50 of the network."""
        return min(self.latencies, key=lambda latency: latency.network.p50_ms)


@dataclass(frozen=True)
class NotMeasured:
    """Why there are no figures of a file."""

    reason: str


def cost_value(cost: FileCost | NotMeasured) -> dict[str, Any]:
    """Plain JSON, as at the top of this file."""
    if isinstance(cost, NotMeasured):
        return {"not_measured": cost.reason}
    return {
        "backend": cost.backend,
        "rounds": cost.rounds,
        "cold_start_ms": _spread_value(cost.cold_start_ms),
        "memory_mb": _spread_value(cost.memory_mb),
        "latencies": [
            {
                "threads": latency.threads,
                "runs": latency.runs,
                "network_ms": _stage_value(latency.network),
                "pipeline_ms": _stage_value(latency.pipeline),
                "round_p50_ms": _spread_value(latency.round_p50_ms),
            }
            for latency in cost.latencies
        ],
    }


def read_cost(fields: Fields) -> FileCost | NotMeasured | None:
    """The cost in a JSON object; None where something is wrong, which is noted in the problems of `fields`."""
    if fields.has("not_measured"):
        reason = fields.text("not_measured")
        fields.finish()
        return None if reason is None else NotMeasured(reason)
    backend, rounds = fields.text("backend"), fields.integer("rounds", low=1)
    cold_start_ms, memory_mb = (_read_spread(fields, name) for name in ("cold_start_ms", "memory_mb"))
    latencies = [_read_latency(entry) for entry in fields.objects("latencies") or ()]
    fields.finish()
    found = tuple(latency for latency in latencies if latency is not None)
    if backend is None or rounds is None or cold_start_ms is None or memory_mb is None or len(found) < len(latencies):
        return None
    try:
        return FileCost(backend, rounds, cold_start_ms, memory_mb, found)
    except SpecError as error:
        fields.problem(fields.path(str(error)))
        return None


def _spread_value(spread: Spread) -> dict[str, float]:
    return {name: round(value, DECIMALS) for name, value in vars(spread).items()}


def _stage_value(latency: StageLatency) -> dict[str, float]:
    return {"p50": round(latency.p50_ms, DECIMALS), "p95": round(latency.p95_ms, DECIMALS)}


def _read_spread(fields: Fields, name: str) -> Spread | None:
    entry = fields.object(name)
    if entry is None:
        return None
    median, low, high = entry.number("median"), entry.number("low"), entry.number("high")
    entry.finish()
    if median is None or low is None or high is None:
        return None
    try:
        return Spread(median, low, high)
    except SpecError as error:
        fields.problem(f"{fields.path(name)}: {error}")
        return None


def _read_stage(fields: Fields, name: str) -> StageLatency | None:
    entry = fields.object(name)
    if entry is None:
        return None
    p50_ms, p95_ms = entry.number("p50"), entry.number("p95")
    entry.finish()
    return None if p50_ms is None or p95_ms is None else StageLatency(p50_ms, p95_ms)


def _read_latency(fields: Fields) -> ThreadLatency | None:
    threads, runs = fields.integer("threads", low=1), fields.integer("runs", low=1)
    network, pipeline = _read_stage(fields, "network_ms"), _read_stage(fields, "pipeline_ms")
    round_p50_ms = _read_spread(fields, "round_p50_ms")
    fields.finish()
    if threads is None or runs is None or network is None or pipeline is None or round_p50_ms is None:
        return None
    return ThreadLatency(threads, runs, network, pipeline, round_p50_ms)
