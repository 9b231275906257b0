"""A traced graph as TensorFlow Lite files, converted in a process of its own.

The converter loads jax and MLIR beside torch: 1.2 GB that are given back when its process ends, thousands of log lines,
and native libraries that crash when they are imported in the wrong order. None of it reaches the caller.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path

import torch

from cvforge.errors import ExportError
from cvforge.export.worker import run_worker
from cvforge.export.wrap import TracedGraph

WORKER = "cvforge.export.tflite_worker"


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
        run_worker("tflite", WORKER, [str(program_path), *arguments])
