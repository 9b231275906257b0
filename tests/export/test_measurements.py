"""The file of measurements beside a bundle: written whole, read strictly, and known to be of this bundle."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from cvforge.errors import DataError, StorageError
from cvforge.export.measurements import Measurements, measurements_path, read_measurements, write_measurements
from cvforge_edge.benchmark.cost import FileCost, NotMeasured, Spread, ThreadLatency
from cvforge_edge.benchmark.machine import Machine
from cvforge_edge.latency import StageLatency

SPREAD = Spread(2.0, 1.0, 3.0)
COST = FileCost("litert", 3, SPREAD, SPREAD, (ThreadLatency(1, 9, StageLatency(1, 2), StageLatency(3, 4), SPREAD),))
MEASURED = Measurements(
    Machine("Linux x86_64", "AMD EPYC", 2, "3.11.7", {"numpy": "2.4.6"}),
    21.875,
    {"a.tflite": COST, "b.onnx": NotMeasured("it crashed")},
    {"a.tflite": {"trials": [], "noise": []}},
)


def bundle(folder: Path, text: str = "{}") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "manifest.json").write_text(text)
    return folder


def test_measurements_are_read_back_as_they_were_written(tmp_path: Path) -> None:
    folder = bundle(tmp_path / "cells")
    assert write_measurements(folder, MEASURED) == tmp_path / "cells.measurements.json"
    assert read_measurements(folder) == MEASURED
    assert json.loads(measurements_path(folder).read_text())["schema_version"] == 2
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["cells", "cells.measurements.json"]


def test_measurements_of_another_export_are_refused(tmp_path: Path) -> None:
    folder = bundle(tmp_path / "cells")
    write_measurements(folder, MEASURED)
    bundle(folder, '{"another": "export"}')
    with pytest.raises(DataError, match=r"cells\.measurements\.json: belongs to another export"):
        read_measurements(folder)
    assert DataError.exit_code == 4


@pytest.mark.parametrize("text", [None, "", "[]", "{}", '{"manifest_sha256": NaN}'])
def test_missing_and_damaged_measurements_are_named(tmp_path: Path, text: str | None) -> None:
    folder = bundle(tmp_path / "cells")
    if text is not None:
        measurements_path(folder).write_text(text)
    with pytest.raises(DataError, match=r"cells\.measurements\.json: cannot be read .*beside the bundle"):
        read_measurements(folder)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("schema_version", 1, "schema_version 1, accepted 2; export again to measure anew"),
        ("checkpoint_latency_ms", "fast", 'checkpoint_latency_ms: found "fast", expected a number'),
        ("files", {"a": {}}, "files.a.backend: missing, expected text"),
        ("machine", {"cores": 0}, "machine.cores: found 0, expected a whole number of at least 1"),
        ("secret", 1, "secret: unknown key"),
        ("int8", [], r"int8: found \[\], expected an object"),
    ],
)
def test_what_is_wrong_in_measurements_is_named_by_its_key(tmp_path: Path, key: str, value: object, words: str) -> None:
    folder = bundle(tmp_path / "cells")
    path = write_measurements(folder, MEASURED)
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    with pytest.raises(DataError, match=words):
        read_measurements(folder)


def test_measurements_that_cannot_be_written_leave_the_bundle_and_no_draft(tmp_path: Path) -> None:
    folder = bundle(tmp_path / "cells")
    measurements_path(folder).mkdir()
    with pytest.raises(StorageError, match="the bundle itself is complete"):
        write_measurements(folder, replace(MEASURED, files={}))
    assert StorageError.exit_code == 10
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["cells", "cells.measurements.json"]
