"""What an export measured about time and memory, beside the bundle: it differs from run to run, and a bundle must not.

```
{"schema_version": 2,
 "manifest_sha256": "of the bundle's manifest.json",
 "machine": {"system": "Linux x86_64", "processor": "...", "cores": 2, "python": "3.11.7", "packages": {"numpy": "2.4.6"}},
 "checkpoint_latency_ms": 21.9,
 "files": {"model_fp32.tflite": {...}, "model_int8.onnx": {"not_measured": "the reason"}},
 "int8": {"model_int8.onnx": {"trials": [...], "noise": [...]}}}
```
`cvforge_edge/benchmark/cost.py` says what is in `files`, which is empty where nothing was measured.
`checkpoint_latency_ms` is the median of the checkpoint's network in PyTorch, of an import that of the imported file, one thread.
`int8` holds every trial and the noise of every layer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cvforge.errors import DataError
from cvforge.export.whole_file import write_whole
from cvforge_edge.benchmark.cost import FileCost, NotMeasured
from cvforge_edge.benchmark.document import costs_value, read_costs
from cvforge_edge.benchmark.machine import Machine, machine_value, read_machine
from cvforge_edge.bundle import file_sha256
from cvforge_edge.manifest import MANIFEST_NAME
from cvforge_edge.strict_json import Fields, format_json, parse_strict

SUFFIX = ".measurements.json"
SCHEMA_VERSION = 2


@dataclass(frozen=True)
class Measurements:
    """What was measured when a bundle was made.

    Attributes:
        machine: where.
        checkpoint_latency_ms: median time of the network that files are held against, one thread.
        files: path of each model file to what it costs; empty where that was not asked for.
        int8: path of each int8 file to its trials and the noise of its layers, plain JSON.
    """

    machine: Machine
    checkpoint_latency_ms: float
    files: Mapping[str, FileCost | NotMeasured] = field(default_factory=dict)
    int8: Mapping[str, Any] = field(default_factory=dict)


def measurements_path(bundle: Path) -> Path:
    """Where the measurements of a bundle lie.

    >>> measurements_path(Path("bundles/det_bccd")).as_posix()
    'bundles/det_bccd.measurements.json'
    """
    return bundle.with_name(bundle.name + SUFFIX)


def write_measurements(bundle: Path, measured: Measurements) -> Path:
    """Write the measurements of a finished bundle, whole or not at all; the file names the manifest that it belongs to.

    Raises:
        StorageError: it cannot be written; the bundle is there.
    """
    path = measurements_path(bundle)
    document = {
        "schema_version": SCHEMA_VERSION,
        "manifest_sha256": file_sha256(bundle / MANIFEST_NAME),
        "machine": machine_value(measured.machine),
        "checkpoint_latency_ms": round(measured.checkpoint_latency_ms, 3),
        "files": costs_value(measured.files),
        "int8": dict(measured.int8),
    }
    write_whole(path, format_json(document).encode("utf-8"))
    return path


def read_measurements(bundle: Path) -> Measurements:
    """What was measured when this bundle was made.

    Raises:
        DataError: there is no such file, it cannot be read, something in it is wrong, or it belongs to another export.
    """
    path = measurements_path(bundle)
    problems: list[str] = []
    try:
        top = Fields(parse_strict(path.read_text(encoding="utf-8")), key="", problems=problems)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read ({error}); tools/export.py writes it beside the bundle") from None
    version, digest = top.integer("schema_version", low=1), top.text("manifest_sha256")
    if version not in (None, SCHEMA_VERSION):
        raise DataError(f"{path}: schema_version {version}, accepted {SCHEMA_VERSION}; export again to measure anew")
    machine, latency_ms = read_machine(top.object("machine")), top.number("checkpoint_latency_ms")
    files = read_costs(top.free("files") or {}, key="files", problems=problems)
    int8 = top.free("int8")
    top.finish()
    if problems or machine is None or latency_ms is None or int8 is None:
        listed = "; ".join(problems)
        raise DataError(f"{path}: cannot be read ({listed}); tools/export.py writes it beside the bundle")
    if digest != file_sha256(bundle / MANIFEST_NAME):
        raise DataError(f"{path}: belongs to another export than {bundle}; export again to measure this one")
    return Measurements(machine, latency_ms, files, int8)
