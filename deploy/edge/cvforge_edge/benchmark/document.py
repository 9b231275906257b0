"""What `benchmark.py` writes: the costs of a bundle's files on one machine, as a JSON document.

```
{"schema_version": 1, "model": "det_bccd", "version": 1, "manifest_sha256": "64 digits",
 "machine": {"system": "Linux aarch64", "processor": "Raspberry Pi 5 Model B Rev 1.0", "cores": 4, "python": "3.11.2",
             "packages": {"numpy": "2.4.6", ...}},
 "files": {"model_int8.tflite": {...}, ...}}
```
`cost.py` says what is in `files`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cvforge_edge.benchmark.cost import FileCost, NotMeasured, cost_value, read_cost
from cvforge_edge.benchmark.machine import Machine, machine_value
from cvforge_edge.bundle import Bundle, file_sha256
from cvforge_edge.errors import StorageError
from cvforge_edge.manifest import MANIFEST_NAME
from cvforge_edge.strict_json import Fields, format_json

SCHEMA_VERSION = 1


def benchmark_text(bundle: Bundle, machine: Machine, costs: Mapping[str, FileCost | NotMeasured]) -> str:
    """The document."""
    return format_json(
        {
            "schema_version": SCHEMA_VERSION,
            "model": bundle.manifest.name,
            "version": bundle.manifest.version,
            "manifest_sha256": file_sha256(bundle.folder / MANIFEST_NAME),
            "machine": machine_value(machine),
            "files": costs_value(costs),
        }
    )


def write_benchmark(path: Path, text: str) -> None:
    """Write the document whole or not at all.

    Raises:
        StorageError: it cannot be written.
    """
    draft = path.with_name(path.name + ".part")
    try:
        draft.write_text(text, encoding="utf-8", newline="\n")
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise StorageError(
            f"{path}: cannot be written ({error.strerror}); name a file in a folder that exists"
        ) from None


def costs_value(costs: Mapping[str, FileCost | NotMeasured]) -> dict[str, Any]:
    """Plain JSON: path of each file to its cost."""
    return {path: cost_value(cost) for path, cost in costs.items()}


def read_costs(value: Mapping[str, Any], *, key: str, problems: list[str]) -> dict[str, FileCost | NotMeasured]:
    """What `costs_value` gave; what is wrong is noted in `problems` and left out."""
    read = {path: read_cost(Fields(entry, key=f"{key}.{path}", problems=problems)) for path, entry in value.items()}
    return {path: cost for path, cost in read.items() if cost is not None}
