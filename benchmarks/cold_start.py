"""How long the device runtime takes from process start to the first result of one image, and how much memory and disk.

    python benchmarks/cold_start.py --bundle bundle --image photo.jpg
    python benchmarks/cold_start.py --bundle bundle --image photo.jpg --rounds 25 --python device/.venv/bin/python --installed

Contenders take turns, each start a new process; the first start of each, which fills the disk's cache and writes Python's
byte code as a device has it, is not counted. What the environment says about Python and threads is left out.

  cvforge PRECISION  deploy/edge/run_camera.py with `--json -`, until the line with the boxes is there: checks the whole
                     bundle, reads the image, runs the model, and says what it found
  bare PRECISION     a script of ten lines with the same libraries and model file, until it has raw outputs: what nobody
                     who uses these libraries can go below

Memory is the largest resident memory (`ru_maxrss`, Linux) in MB of 2^20 bytes, processor time that of all threads. Targets
are for int8, which devices run: fp32 weights alone take 13 MB twice. `--installed` counts the files of the interpreter's
environment in MB of 10^6 bytes, without pip and setuptools, which a device does not need to run.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

RUN_CAMERA = Path(__file__).resolve().parent.parent / "deploy" / "edge" / "run_camera.py"
PRECISIONS = ("int8", "fp16", "fp32")
TIME_TARGET_S, MEMORY_TARGET_MB, INSTALLED_TARGET_MB = 0.25, 110.0, 300.0
JUDGED = "cvforge int8"
INSTALLERS = ("pip", "setuptools", "pkg_resources", "_distutils_hack")
PACKAGES = ("numpy", "opencv-python-headless", "opencv-python", "ai-edge-litert")
BARE = """
import os, sys
os.environ["OPENBLAS_NUM_THREADS"] = "1"
import cv2
from ai_edge_litert.interpreter import Interpreter
model, image = sys.argv[1:]
interpreter = Interpreter(model_path=model, num_threads=1)
interpreter.allocate_tensors()
given = interpreter.get_input_details()[0]
height, width = map(int, given["shape"][1:3])
interpreter.set_tensor(given["index"], cv2.resize(cv2.imread(image), (width, height))[None])
interpreter.invoke()
print(len(interpreter.get_tensor(interpreter.get_output_details()[0]["index"])))
"""
FACTS = """
import json, platform, sys
from importlib.metadata import PackageNotFoundError, version
found = {}
for name in sys.argv[1:]:
    try:
        found[name] = version(name)
    except PackageNotFoundError:
        pass
print(json.dumps({"prefix": sys.prefix, "python": platform.python_version(), "versions": found}))
"""


@dataclass(frozen=True)
class Start:
    """One start: seconds to the first line of output and to the process's end, processor seconds, and largest memory."""

    first_result_s: float
    end_s: float
    processor_s: float
    memory_mb: float


def measure(command: Sequence[str]) -> Start:
    """Start the command once, with nothing said about threads and byte code.

    The caller must be small: a process's largest memory is at least that of the one it was started from.

    Raises:
        RuntimeError: it fails, or says nothing.
    """
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTHON", "OMP_")) and not name.endswith("_NUM_THREADS")
    }
    begun_s = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        first_result_s = time.perf_counter() - begun_s
        _, status, usage = os.wait4(process.pid, 0)
        end_s = time.perf_counter() - begun_s
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0 or not line:
        raise RuntimeError(f"{' '.join(command)}: ended with code {process.returncode} and said {line!r}")
    return Start(first_result_s, end_s, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def contenders(bundle: Path, image: Path, *, precisions: Sequence[str], python: str) -> dict[str, list[str]]:
    """The commands by name: ours and the bare one for each TensorFlow Lite file of a bundle that is wanted."""
    files = json.loads((bundle / "manifest.json").read_text())["files"]
    models = {file["precision"]: file["path"] for file in files if file.get("format") == "tflite"}
    commands = {}
    for precision in precisions:
        if precision in models:
            ours = [python, str(RUN_CAMERA), "--bundle", str(bundle), "--source", str(image), "--json", "-", "--quiet"]
            commands[f"cvforge {precision}"] = [*ours, "--precision", precision]
            commands[f"bare {precision}"] = [python, "-c", BARE, str(bundle / models[precision]), str(image)]
    return commands


def measure_in_turn(commands: Mapping[str, Sequence[str]], *, rounds: int) -> dict[str, list[Start]]:
    """Starts by contender, in rounds of changing order; before them one start of each that is not counted."""
    for command in commands.values():
        measure(command)
    starts: dict[str, list[Start]] = {name: [] for name in commands}
    for _ in range(rounds):
        for name in random.sample(list(commands), len(commands)):
            starts[name].append(measure(commands[name]))
    return starts


def installed_mb(environment: Path) -> float:
    """Size of the files of a virtual environment without its installers, in MB of 10^6 bytes."""
    files = (path for path in environment.rglob("*") if path.is_file() and not path.is_symlink())
    return sum(path.stat().st_size for path in files if not _of_installer(path)) / 1e6


def _of_installer(path: Path) -> bool:
    parts = path.parts
    inside = parts[parts.index("site-packages") + 1] if "site-packages" in parts else ""
    return inside.split("-")[0] in INSTALLERS


def print_report(starts: Mapping[str, Sequence[Start]]) -> bool:
    """Print the tables; whether the medians of what is judged reach the targets."""
    columns = ("first_result_s", "end_s", "processor_s", "memory_mb")
    print(f"{'median (lowest to highest)':<28}" + "".join(f"{column:>26}" for column in columns))
    for name, row in starts.items():
        cells = []
        for column in columns:
            values, digits = [getattr(start, column) for start in row], 1 if column == "memory_mb" else 3
            low, high = min(values), max(values)
            cells.append(f"{statistics.median(values):.{digits}f} ({low:.{digits}f} to {high:.{digits}f})")
        print(f"{name:<28}" + "".join(f"{cell:>26}" for cell in cells))
    for name in starts:
        bare = name.replace("cvforge", "bare")
        if bare != name:
            ratios = [_median(starts[name], column) / _median(starts[bare], column) for column in columns]
            print(f"{name + ' / bare':<28}" + "".join(f"{ratio:>26.2f}" for ratio in ratios))
    if JUDGED not in starts:
        return True
    time_s, memory_mb = _median(starts[JUDGED], "first_result_s"), _median(starts[JUDGED], "memory_mb")
    print(f"{JUDGED}: {time_s:.3f} s, target {TIME_TARGET_S:g}; {memory_mb:.1f} MB, target {MEMORY_TARGET_MB:g}")
    return time_s <= TIME_TARGET_S and memory_mb <= MEMORY_TARGET_MB


def _median(starts: Sequence[Start], column: str) -> float:
    return statistics.median(getattr(start, column) for start in starts)


def main() -> int:
    """Measure and print; 1 when a target is missed."""
    options = _parser().parse_args()
    precisions = options.precision or PRECISIONS
    commands = contenders(options.bundle, options.image, precisions=precisions, python=options.python)
    reached = print_report(measure_in_turn(commands, rounds=options.rounds))
    facts = json.loads(subprocess.check_output([options.python, "-c", FACTS, *PACKAGES], text=True))
    if options.installed:
        size_mb = installed_mb(Path(facts["prefix"]))
        print(f"installed: {size_mb:.0f} MB, target {INSTALLED_TARGET_MB:g}")
        reached = reached and size_mb <= INSTALLED_TARGET_MB
    print(f"rounds   {options.rounds}")
    print(f"machine  {platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {facts['python']}")
    print(f"versions {', '.join(f'{name} {version}' for name, version in facts['versions'].items())}")
    return 0 if reached else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Cold start of the device runtime: time, memory and disk.")
    add = parser.add_argument
    add("--bundle", required=True, type=Path, metavar="FOLDER", help="model bundle with TensorFlow Lite files")
    add("--image", required=True, type=Path, metavar="FILE", help="image to run on")
    add("--precision", action="append", choices=PRECISIONS, help="repeat for several (default: all of the bundle)")
    add("--rounds", type=int, default=15, metavar="N", help="starts of each to count (default %(default)s)")
    add("--python", default=sys.executable, metavar="FILE", help="interpreter of the device environment")
    add("--installed", action="store_true", help="also the size of that environment, which must be a virtual one")
    return parser


if __name__ == "__main__":
    sys.exit(main())
