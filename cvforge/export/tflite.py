"""A traced graph as TensorFlow Lite files, converted in a process of its own.

The converter loads jax and MLIR beside torch: 1.2 GB that are given back when its process ends, thousands of log lines,
and native libraries that crash when they are imported in the wrong order. None of it reaches the caller.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path

import torch

from cvforge.errors import ExportError
from cvforge.export.wrap import TracedGraph

WORKER = "cvforge.export.tflite_worker"
CONVERSION_LIMIT_S = 1800
_LOG_LINES = 12


def write_tflite(graph: TracedGraph, paths: Mapping[str, Path]) -> None:
    """Write TFLite files of one graph; the same weights give the same bytes.

    Args:
        graph: from `cvforge.export.wrap.trace`.
        paths: the file to write for each precision: `fp32`, or `fp16` (weights stored in half precision, arithmetic,
            input and outputs as they are).

    Raises:
        ExportError: an operator has no TFLite form, or the converter crashed; its last lines are in the message.
    """
    unknown = set(paths) - {"fp32", "fp16"}
    if unknown:
        raise ExportError(f"tflite: found precision {', '.join(sorted(unknown))}, accepted fp32, fp16")
    with tempfile.TemporaryDirectory(prefix="cvforge-tflite-") as folder:
        program_path = Path(folder) / "program.pt2"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of its own deprecations while saving
            torch.export.save(graph.program, program_path)
        arguments = [f"{precision}={path.resolve()}" for precision, path in sorted(paths.items())]
        _run_worker([str(program_path), *arguments])


def _run_worker(arguments: list[str]) -> None:
    # One thread: the lowering is serial, and idle OpenMP threads only take the processor from others.
    environment = {**os.environ, "PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "2"}
    environment["PYTHONPATH"] = os.pathsep.join(entry for entry in sys.path if entry)
    command = [sys.executable, "-m", WORKER, *arguments]
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=CONVERSION_LIMIT_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise ExportError(f"tflite: the conversion took longer than {CONVERSION_LIMIT_S} s and was stopped") from error
    if done.returncode != 0:
        log = (done.stdout + "\n" + done.stderr).strip().splitlines()
        tail = "\n".join(f"  | {line}" for line in log[-_LOG_LINES:])
        raise ExportError(f"tflite: the converter ended with code {done.returncode}; its last lines:\n{tail}")
