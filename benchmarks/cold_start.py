"""How long the device runtime takes from process start to the first boxes of one image, and how much memory.

    python benchmarks/cold_start.py --bundle bundle --image photo.jpg

Each round starts `deploy/edge/run_camera.py` as a new process with `--json -`, and takes the time until the line with
the result arrives and the process's largest resident memory (`ru_maxrss`, Linux). The first round, which fills the disk
cache, is not counted. Run it alone on the machine: neighbours stretch the times, all but the processor's own.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

RUN_CAMERA = Path(__file__).resolve().parent.parent / "deploy" / "edge" / "run_camera.py"
TIME_TARGET_S = 0.5
MEMORY_TARGET_MB = 130.0
PACKAGES = ("numpy", "opencv-python-headless", "opencv-python", "ai-edge-litert", "onnxruntime", "tflite-runtime")


@dataclass(frozen=True)
class Round:
    """One start: seconds to the result's line and to the process's end, processor seconds, and largest memory."""

    first_result_s: float
    exit_s: float
    processor_s: float
    memory_mb: float


def measure(command: list[str]) -> Round:
    """Start the command once.

    Raises:
        RuntimeError: it fails, or gives no result.
    """
    begun_s = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        first_result_s = time.perf_counter() - begun_s
        _, status, usage = os.wait4(process.pid, 0)
        exit_s = time.perf_counter() - begun_s
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0 or "frame" not in json.loads(line or b"{}"):
        raise RuntimeError(f"{' '.join(command)}: ended with code {process.returncode} and said {line!r}")
    return Round(first_result_s, exit_s, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def print_report(rounds: list[Round], command: list[str]) -> bool:
    """Print the table; whether the medians reach the targets."""
    columns = {
        "first result, s": ([r.first_result_s for r in rounds], TIME_TARGET_S),
        "process end, s": ([r.exit_s for r in rounds], None),
        "processor, s": ([r.processor_s for r in rounds], None),
        "memory, MB": ([r.memory_mb for r in rounds], MEMORY_TARGET_MB),
    }
    print(f"{'':<18}{'median':>9}{'min':>9}{'max':>9}   target")
    reached = True
    for name, (values, target) in columns.items():
        median = statistics.median(values)
        verdict = "" if target is None else f"<= {target:g} {'reached' if median <= target else 'MISSED'}"
        reached = reached and (target is None or median <= target)
        print(f"{name:<18}{median:>9.3f}{min(values):>9.3f}{max(values):>9.3f}   {verdict}")
    print(f"rounds   {len(rounds)}")
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    print(f"machine  {machine}")
    print(f"versions {', '.join(f'{name} {found}' for name in PACKAGES if (found := _version(name)))}")
    print(f"command  {' '.join(command)}")
    return reached


def main() -> int:
    """Measure and print; 1 when a target is missed."""
    options = _parser().parse_args()
    command = [options.python, str(RUN_CAMERA), "--bundle", options.bundle, "--source", options.image, "--json", "-"]
    command += ["--quiet", *(["--backend", options.backend] if options.backend else [])]
    measure(command)
    return 0 if print_report([measure(command) for _ in range(options.rounds)], command) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Cold start of the device runtime: time and memory to the first boxes."
    )
    parser.add_argument("--bundle", required=True, metavar="FOLDER", help="model bundle")
    parser.add_argument("--image", required=True, metavar="FILE", help="image to run on")
    parser.add_argument("--backend", metavar="NAME", help="inference runtime (default: the bundle's preferred)")
    parser.add_argument("--rounds", type=int, default=10, metavar="N", help="starts to measure (default %(default)s)")
    parser.add_argument(
        "--python", default=sys.executable, metavar="FILE", help="interpreter of the device environment"
    )
    return parser


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


if __name__ == "__main__":
    sys.exit(main())
