"""Three runtimes give one answer for the same TFLite files: LiteRT, TensorFlow and tflite-runtime."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from conftest import REPOSITORY
from cvforge_edge.types import Task
from export.tiny import export_tiny, tiny_calibration, tiny_plan

BENCHMARK = REPOSITORY / "benchmarks" / "three_runtimes.py"
PRECISIONS = ("fp32", "fp16", "int8")
GENEROUS = {"fp32": 0.001, "fp16": 0.002, "int8": 0.5}


@pytest.mark.network
@pytest.mark.slow
@pytest.mark.skipif(sys.version_info >= (3, 12), reason="the wheels of tflite-runtime stop at Python 3.11")
@pytest.mark.skipif(find_spec("tensorflow") is None, reason="needs the extra `tensorflow`")
@pytest.mark.parametrize("task", [Task.DETECTION, Task.SEGMENTATION])
def test_three_runtimes_give_one_answer_in_every_precision(task: Task, tmp_path: Path) -> None:
    plan = tiny_plan(
        task,
        formats=("tflite",),
        precisions=PRECISIONS,
        metric_budget=GENEROUS,
        tensor_tolerance={"fp32": 1e-3, "fp16": 2e-2, "int8": 0.5},
    )
    export_tiny(task, tmp_path / "b", plan=plan, calibration=tiny_calibration(task))
    command = [sys.executable, str(BENCHMARK), str(tmp_path / "b")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1200, check=False)
    assert done.returncode == 0, done.stdout + done.stderr[-4000:]
    rows = [line.split() for line in done.stdout.splitlines() if line.startswith("b/model_")]
    runtimes = ("ai-edge-litert", "tensorflow", "tflite-runtime")
    assert [(row[0], row[1]) for row in rows] == [
        (f"b/model_{precision}.tflite", runtime) for precision in PRECISIONS for runtime in runtimes
    ]
    assert all(float(row[-1]) < GENEROUS["int8"] for row in rows)
