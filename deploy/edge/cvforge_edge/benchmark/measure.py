"""Measures the model files of a bundle in processes of their own, in rounds, so that noise hits all files alike."""

from __future__ import annotations

import json
import math
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from cvforge_edge.backends import BACKENDS, is_installed
from cvforge_edge.benchmark.child import ChildResult, ChildTask, StepTimes
from cvforge_edge.benchmark.cost import FileCost, NotMeasured, Spread, ThreadLatency
from cvforge_edge.bundle import Bundle
from cvforge_edge.errors import BackendError
from cvforge_edge.latency import LatencyRecorder, StageLatency
from cvforge_edge.records import dataclass

CHILD = "cvforge_edge.benchmark.child"
ROUNDS = 3
FEWEST_ROUNDS = 2
TIME_LIMIT_S = 60.0
MOST_THREADS = 8
"""More than that gain nothing in networks of this size."""
LOG_LINES = 3
RESULT_START = '{"cold_start_s"'
BYTES_PER_MB = 1e6
MS = 1000.0


@dataclass(frozen=True)
class BenchmarkPlan:
    """How files are measured.

    Attributes:
        threads: numbers of threads, fewest first.
        rounds: processes that each file is started in, at most; between two of one file come all others.
        budget_s: no further round begins after so many seconds, once there were `FEWEST_ROUNDS`.
        time_limit_s: after which a process is taken for hung and ended.
        backend: name in `BACKENDS`; None takes the preferred installed one of each file.
        trust: keys of this device, one of which must have signed the bundle; None asks for no signature.
    """

    threads: tuple[int, ...]
    rounds: int = ROUNDS
    budget_s: float = math.inf
    time_limit_s: float = TIME_LIMIT_S
    backend: str | None = None
    trust: Path | None = None


def usable_cores() -> int:
    """Processor cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def thread_counts(cores: int) -> tuple[int, ...]:
    """1, 2, 4, 8 as far as there are cores, and all of fewer than eight.

    >>> thread_counts(6)
    (1, 2, 4, 6)
    """
    most = min(cores, MOST_THREADS)
    return tuple(sorted({count for count in (1, 2, 4, 8) if count <= most} | {most}))


def measure_bundle(
    bundle: Bundle, plan: BenchmarkPlan, *, progress: Callable[[int, int], None] | None = None
) -> dict[str, FileCost | NotMeasured]:
    """What each model file of a bundle costs on this machine, by its path.

    A file whose process fails, crashes or hangs is `NotMeasured`; the others are measured all the same. Files that no
    installed runtime fits are left out.

    Args:
        bundle: an opened bundle with golden vectors.
        plan: how.
        progress: told after each process.

    Raises:
        BackendError: no installed runtime fits any file.
    """
    backends = fitting_backends(bundle, plan.backend)
    reasons: dict[str, str] = {}
    results: dict[str, list[ChildResult]] = {path: [] for path in backends}
    begun_s = time.monotonic()
    for number in range(plan.rounds):
        if number >= FEWEST_ROUNDS and time.monotonic() - begun_s > plan.budget_s:
            break
        for index, (path, backend) in enumerate(backends.items(), start=1):
            if path not in reasons:
                found = _run_child(bundle, path, backend, plan)
                if isinstance(found, NotMeasured):
                    reasons[path] = found.reason
                else:
                    results[path].append(found)
            if progress is not None:
                progress(number * len(backends) + index, plan.rounds * len(backends))
    return {
        path: NotMeasured(reasons[path]) if path in reasons else _cost(backend, results[path])
        for path, backend in backends.items()
    }


def fitting_backends(bundle: Bundle, asked: str | None) -> dict[str, str]:
    """Path of each model file that can be run here, and the name of its runtime.

    Args:
        bundle: an opened bundle.
        asked: name in `BACKENDS`, which leaves out what it does not run; None takes the preferred installed one of each.

    Raises:
        BackendError: there is no such file.
    """
    found = {}
    for model in bundle.manifest.models:
        names = [name for name, entry in BACKENDS.items() if entry.format == model.format and is_installed(name)]
        chosen = [name for name in names if name == asked or (asked is None and not BACKENDS[name].by_name_only)]
        if chosen:
            found[model.path] = chosen[0]
    if not found:
        formats = sorted({model.format for model in bundle.manifest.models})
        raise BackendError(
            f"{bundle.folder}: has {' and '.join(formats)} files, and {asked or 'no installed runtime'} runs none of them here; "
            "README.md lists what to install"
        )
    return found


def _run_child(bundle: Bundle, path: str, backend: str, plan: BenchmarkPlan) -> ChildResult | NotMeasured:
    task = ChildTask(
        bundle=str(bundle.folder.resolve()),
        model=path,
        backend=backend,
        threads=plan.threads,
        trust=None if plan.trust is None else str(plan.trust.resolve()),
        started_s=time.monotonic(),
    )
    # The child finds the packages that we have found, whatever put them there.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
    try:
        done = subprocess.run(
            [sys.executable, "-m", CHILD, json.dumps(asdict(task))],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=plan.time_limit_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return NotMeasured(f"its process took longer than {plan.time_limit_s:g} s and was ended")
    except OSError as error:
        return NotMeasured(f"its process cannot be started: {error}")
    if done.returncode != 0:
        return NotMeasured(_end(done.returncode, done.stderr.decode("utf-8", errors="replace")))
    return _read_result(done.stdout.decode("utf-8", errors="replace"))


def _end(code: int, log: str) -> str:
    lines = [line.strip() for line in log.strip().splitlines()[-LOG_LINES:]]
    if code >= 0:
        return f"its process ended with code {code}: {' | '.join(lines) or 'without a word'}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"its process was ended by {name}: the runtime crashed, or the memory was not enough"


def _read_result(output: str) -> ChildResult | NotMeasured:
    """The line that the child writes; a runtime may print around it."""
    lines = [line for line in output.splitlines() if line.startswith(RESULT_START)]
    if not lines:
        return NotMeasured("its process ended without a result")
    values = json.loads(lines[-1])
    return ChildResult(values["cold_start_s"], values["memory_bytes"], [StepTimes(**step) for step in values["steps"]])


def _cost(backend: str, results: Sequence[ChildResult]) -> FileCost:
    return FileCost(
        backend=backend,
        rounds=len(results),
        cold_start_ms=_spread([result.cold_start_s * MS for result in results]),
        memory_mb=_spread([result.memory_bytes / BYTES_PER_MB for result in results]),
        latencies=tuple(_latency(steps) for steps in zip(*(result.steps for result in results), strict=True)),
    )


def _latency(rounds: Sequence[StepTimes]) -> ThreadLatency:
    """Of one number of threads, over all rounds."""
    return ThreadLatency(
        threads=rounds[0].threads,
        runs=sum(len(step.network_s) for step in rounds),
        network=_percentiles([time_s for step in rounds for time_s in step.network_s]),
        pipeline=_percentiles([time_s for step in rounds for time_s in step.pipeline_s]),
        round_p50_ms=_spread([_percentiles(step.network_s).p50_ms for step in rounds]),
    )


def _percentiles(samples_s: Sequence[float]) -> StageLatency:
    recorder = LatencyRecorder()
    for sample_s in samples_s:
        recorder.add("", sample_s)
    return recorder.percentiles()[""]


def _spread(values: Sequence[float]) -> Spread:
    return Spread(statistics.median(values), min(values), max(values))


def failures(costs: Mapping[str, FileCost | NotMeasured]) -> dict[str, str]:
    """Path and reason of every file without figures."""
    return {path: cost.reason for path, cost in costs.items() if isinstance(cost, NotMeasured)}
