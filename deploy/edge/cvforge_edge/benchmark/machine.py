"""On what a measurement was made, without the names of machine and user."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from cvforge_edge.benchmark.measure import usable_cores
from cvforge_edge.records import dataclass
from cvforge_edge.strict_json import Fields

PACKAGES = ("numpy", "opencv-python-headless", "opencv-python", "ai-edge-litert", "tflite-runtime", "onnxruntime")
BOARD = Path("/proc/device-tree/model")
PROCESSORS = Path("/proc/cpuinfo")


@dataclass(frozen=True)
class Machine:
    """A machine and what is installed on it.

    Attributes:
        system: operating system and architecture.
        processor: name of the board where it has one, else of the processor; empty where it is not known.
        cores: that our processes may use.
        python: version.
        packages: versions of those that take part in a prediction.
    """

    system: str
    processor: str
    cores: int
    python: str
    packages: Mapping[str, str]

    def __str__(self) -> str:
        cores = "1 core" if self.cores == 1 else f"{self.cores} cores"
        return ", ".join(part for part in (self.processor, self.system, cores) if part)


def this_machine() -> Machine:
    """The machine that we run on."""
    return Machine(
        system=f"{platform.system()} {platform.machine()}",
        processor=_processor(),
        cores=usable_cores(),
        python=platform.python_version(),
        packages={name: found for name in PACKAGES if (found := _version(name)) is not None},
    )


def machine_value(machine: Machine) -> dict[str, Any]:
    """Plain JSON."""
    return {**vars(machine), "packages": dict(machine.packages)}


def read_machine(fields: Fields | None) -> Machine | None:
    """The machine in a JSON object; None where something is wrong, which is noted in the problems of `fields`."""
    if fields is None:
        return None
    system, processor, python = fields.text("system"), fields.text("processor"), fields.text("python")
    cores, packages = fields.integer("cores", low=1), fields.mapping("packages", str, "text")
    fields.finish()
    if system is None or processor is None or cores is None or python is None or packages is None:
        return None
    return Machine(system, processor, cores, python, packages)


def _processor() -> str:
    try:
        if BOARD.is_file():
            return BOARD.read_text(encoding="utf-8", errors="replace").strip("\0\n ")
        lines = PROCESSORS.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
