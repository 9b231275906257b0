"""The formats that a network can be exported to: who writes each, its file ending, and what reads it back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from cvforge.export.onnx import write_onnx
from cvforge.export.tflite import write_tflite
from cvforge.export.wrap import TracedGraph


@dataclass(frozen=True)
class Format:
    """One way to write a traced graph.

    Attributes:
        write: takes the graph and the path of the file for each precision.
        runtime: name of the backend (`cvforge_edge.backends`) that the file is verified with.
    """

    write: Callable[[TracedGraph, Mapping[str, Path]], None]
    runtime: str


FORMATS = {
    "tflite": Format(write_tflite, runtime="litert"),
    "onnx": Format(write_onnx, runtime="onnxruntime"),
}
"""By name, which is also the file ending; a device prefers the first that it can run."""

PRECISIONS = ("fp32", "fp16")
"""What every format can be written in; a device prefers the first."""
