"""One process that runs one model file as a device does and says what that took.

`python -m cvforge_edge.benchmark.child TASK`, where TASK is a `ChildTask` in JSON; a line of standard output is a
`ChildResult` in JSON. A process of its own, since memory and cold start are those of a process, and a runtime that
crashes or hangs must not take the measurement with it.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from cvforge_edge.cli import run_command
from cvforge_edge.records import dataclass

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from cvforge_edge.bundle import Bundle
    from cvforge_edge.predictor import Predictor

STEP_LIMIT_S = 0.25
"""How long one number of threads is measured in one round, unless that gives fewer than `MIN_RUNS`."""
MIN_RUNS = 3
WARM_UP_RUNS = 1
LINUX_STATUS = Path("/proc/self/status")
BYTES_PER_KIB = 1024


@dataclass(frozen=True)
class ChildTask:
    """What one process is to do.

    Attributes:
        bundle: absolute path of the folder.
        model: path of the model file inside it.
        backend: a name in `BACKENDS`.
        threads: numbers of threads, each measured after the other.
        trust: path of the keys of this device; None asks for no signature.
        started_s: `time.monotonic()` when the process was started: this clock is the same in all processes.
    """

    bundle: str
    model: str
    backend: str
    threads: tuple[int, ...]
    trust: str | None
    started_s: float


@dataclass(frozen=True)
class StepTimes:
    """Seconds of every run with one number of threads: of the network, and of the whole pipeline around it."""

    threads: int
    network_s: list[float]
    pipeline_s: list[float]


@dataclass(frozen=True)
class ChildResult:
    """What one process measured.

    Attributes:
        cold_start_s: from its start to its first prediction.
        memory_bytes: its largest resident memory with the first number of threads.
        steps: one a number of threads.
    """

    cold_start_s: float
    memory_bytes: int
    steps: list[StepTimes]


def main() -> int:
    """Do the task of the command line."""
    values = json.loads(sys.argv[1])
    result = measure(ChildTask(**{**values, "threads": tuple(values["threads"])}))
    sys.stdout.write("\n" + json.dumps(asdict(result)) + "\n")
    return 0


def measure(task: ChildTask) -> ChildResult:
    """Run the file with each number of threads.

    Raises:
        EdgeError: the bundle or its file cannot be read or run.
    """
    import cv2

    from cvforge_edge.bundle import open_bundle
    from cvforge_edge.golden import GOLDEN_FOLDER, read_golden_image
    from cvforge_edge.trust import read_optional_trust

    cv2.setNumThreads(1)  # as the camera does
    bundle = open_bundle(task.bundle, trust=read_optional_trust(task.trust))
    image_bgr = read_golden_image(bundle.folder / GOLDEN_FOLDER)
    steps = []
    cold_start_s, memory_bytes = 0.0, 0
    for threads in task.threads:
        with _open(bundle, task, threads=threads) as predictor:
            predictor.predict(image_bgr)
            cold_start_s = cold_start_s or time.monotonic() - task.started_s
            steps.append(_step(predictor, image_bgr, threads=threads))
        memory_bytes = memory_bytes or peak_memory_bytes()
    return ChildResult(cold_start_s, memory_bytes, steps)


def peak_memory_bytes() -> int:
    """Largest resident memory of this process so far.

    Not `ru_maxrss` on Linux: a new process inherits that of the one that started it, which may be a whole trainer.
    """
    if LINUX_STATUS.is_file():
        for line in LINUX_STATUS.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * BYTES_PER_KIB
    import resource

    unit = 1 if sys.platform == "darwin" else BYTES_PER_KIB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _open(bundle: Bundle, task: ChildTask, *, threads: int) -> Predictor:
    from cvforge_edge.errors import BundleError
    from cvforge_edge.predictor import Predictor

    models = [model for model in bundle.manifest.models if model.path == task.model]
    if not models:
        raise BundleError(f"{bundle.folder}: has no model {task.model}")
    return Predictor.of_model(bundle, models[0], backend=task.backend, threads=threads)


def _step(predictor: Predictor, image_bgr: npt.NDArray[np.uint8], *, threads: int) -> StepTimes:
    times = StepTimes(threads, [], [])
    for _ in range(WARM_UP_RUNS):
        _run(predictor, image_bgr)
    begun_s = time.perf_counter()
    while len(times.network_s) < MIN_RUNS or time.perf_counter() - begun_s < STEP_LIMIT_S:
        network_s, pipeline_s = _run(predictor, image_bgr)
        times.network_s.append(network_s)
        times.pipeline_s.append(pipeline_s)
    return times


def _run(predictor: Predictor, image_bgr: npt.NDArray[np.uint8]) -> tuple[float, float]:
    """Seconds of the network and of the whole for one image: `Predictor.predict` with a clock around its middle."""
    from cvforge_edge.postprocess import postprocess

    manifest = predictor.manifest
    begun_s = time.perf_counter()
    input_u8, geometry = manifest.preprocess.apply(image_bgr)
    prepared_s = time.perf_counter()
    outputs = predictor.raw_outputs(input_u8)
    run_s = time.perf_counter()
    postprocess(outputs, manifest.postprocess, geometry)
    return run_s - prepared_s, time.perf_counter() - begun_s


if __name__ == "__main__":
    sys.exit(run_command(main))
