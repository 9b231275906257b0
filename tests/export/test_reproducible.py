"""Two exports of one checkpoint are the same bundle, byte for byte, and what differs lies beside it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cvforge_edge.manifest import read_manifest
from cvforge_edge.types import Task
from export.tiny import export_tiny, tiny_plan

EXPORT = """
import sys
from pathlib import Path
import torch
from cvforge_edge.types import Task
from export.tiny import export_tiny, tiny_plan
torch.set_num_threads(1)
task = Task(sys.argv[1])
if __name__ == "__main__":
    export_tiny(task, Path(sys.argv[2]), plan=tiny_plan(task, formats=("onnx", "tflite"), embedding="backbone"))
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
        export_tiny(Task.DETECTION, folder, plan=tiny_plan(Task.DETECTION, embedding="backbone"))
    assert differing(*folders) == []
    names = set(contents(folders[0]))
    assert {"manifest.json", "model_card.md", "golden/00.npz", "golden/golden.json", "model_fp16.onnx"} <= names
    assert sorted(path.name for path in (tmp_path / "second").iterdir()) == ["another"]


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


def test_the_manifest_says_how_far_each_output_is_from_the_checkpoint(tmp_path: Path) -> None:
    report = export_tiny(Task.CLASSIFICATION, tmp_path / "bundle")
    errors = read_manifest(report.folder).provenance["worst_output_error"]
    assert set(errors) == {"model_fp32.onnx", "model_fp16.onnx"}
    assert 0 <= errors["model_fp32.onnx"]["probs"] <= errors["model_fp16.onnx"]["probs"] < 0.02
