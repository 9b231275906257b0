"""Two exports of one checkpoint are the same bundle, byte for byte, and what differs lies beside it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cvforge.errors import DataError, StorageError
from cvforge.export.measurements import measurements_path, read_measurements, write_measurements
from cvforge_edge.manifest import CHECKPOINT, read_manifest
from cvforge_edge.types import Task
from export.tiny import export_tiny

EXPORT = """
import sys
from pathlib import Path
import torch
from cvforge_edge.types import Task
from export.tiny import export_tiny, tiny_plan
torch.set_num_threads(1)
task = Task(sys.argv[1])
if __name__ == "__main__":
    export_tiny(task, Path(sys.argv[2]), plan=tiny_plan(task, formats=("onnx", "tflite")))
"""


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def differing(first: Path, second: Path) -> list[str]:
    one, other = contents(first), contents(second)
    assert len(one) > 5
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))


def test_two_exports_in_one_process_are_equal_byte_for_byte(tmp_path: Path) -> None:
    folders = [tmp_path / "first" / "bundle", tmp_path / "second" / "another"]
    for folder in folders:
        export_tiny(Task.DETECTION, folder)
    assert differing(*folders) == []
    names = set(contents(folders[0]))
    assert {"manifest.json", "model_card.md", "golden/00.npz", "golden/golden.json", "model_fp16.onnx"} <= names
    for folder in folders:
        measured = read_measurements(folder)
        assert set(measured["latency_ms_p50"]) == {CHECKPOINT, "model_fp32.onnx", "model_fp16.onnx"}
        assert all(value > 0 for value in measured["latency_ms_p50"].values())
    assert sorted(path.name for path in (tmp_path / "second").iterdir()) == ["another", "another.measurements.json"]


@pytest.mark.slow
@pytest.mark.parametrize("task", list(Task))
def test_exports_in_other_processes_with_other_hash_seeds_and_folders_are_equal(tmp_path: Path, task: Task) -> None:
    folders = []
    for seed in ("1", "77"):
        place = tmp_path / f"place-{seed}"
        place.mkdir()
        script = place / "export_it.py"
        script.write_text(EXPORT)
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)}
        folders.append(place / f"bundle-{seed}")
        command = [sys.executable, str(script), task.value, str(folders[-1])]
        done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    assert differing(*folders) == []
    assert {"model_fp32.tflite", "model_fp16.tflite"} <= set(contents(folders[0]))


def test_a_bundle_holds_no_time_of_the_machine_that_made_it(tmp_path: Path) -> None:
    report = export_tiny(Task.CLASSIFICATION, tmp_path / "bundle")
    assert "latency" not in (report.folder / "manifest.json").read_text()
    assert "ms an image" not in (report.folder / "model_card.md").read_text()
    assert ".measurements.json" in (report.folder / "model_card.md").read_text()


def bundle(folder: Path, text: str = "{}") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "manifest.json").write_text(text)
    return folder


def test_measurements_are_read_back_with_the_machine(tmp_path: Path) -> None:
    folder = bundle(tmp_path / "cells")
    path = write_measurements(folder, {"latency_ms_p50": {"checkpoint": 1.5}})
    assert path == tmp_path / "cells.measurements.json"
    assert read_measurements(folder)["latency_ms_p50"] == {"checkpoint": 1.5}
    assert read_measurements(folder)["machine"].endswith("one thread")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["cells", "cells.measurements.json"]


def test_measurements_of_another_export_are_refused(tmp_path: Path) -> None:
    folder = bundle(tmp_path / "cells")
    write_measurements(folder, {})
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


def test_measurements_that_cannot_be_written_leave_the_bundle_and_no_draft(tmp_path: Path) -> None:
    folder = bundle(tmp_path / "cells")
    measurements_path(folder).mkdir()
    with pytest.raises(StorageError, match="the bundle itself is complete"):
        write_measurements(folder, {})
    assert StorageError.exit_code == 10
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["cells", "cells.measurements.json"]


def test_the_manifest_says_how_far_each_output_is_from_the_checkpoint(tmp_path: Path) -> None:
    report = export_tiny(Task.CLASSIFICATION, tmp_path / "bundle")
    errors = read_manifest(report.folder).provenance["worst_output_error"]
    assert set(errors) == {"model_fp32.onnx", "model_fp16.onnx"}
    assert 0 <= errors["model_fp32.onnx"]["probs"] <= errors["model_fp16.onnx"]["probs"] < 0.02
    assert json.loads(measurements_path(report.folder).read_text())["schema_version"] == 1
