"""The formats that a network can be exported to: who writes each, its file ending, and what reads it back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cvforge.export.int8 import Quantiser
from cvforge.export.onnx import write_onnx
from cvforge.export.onnx_int8 import OnnxQuantiser
from cvforge.export.tflite import write_tflite
from cvforge.export.tflite_int8 import TFLiteQuantiser
from cvforge.export.wrap import TracedGraph


@dataclass(frozen=True)
class Format:
    """One way to write a traced graph.

    Attributes:
        write: takes the graph and the path of the file for each float precision.
        quantiser: takes the fp32 file, prepared calibration images (h, w, 3) uint8 and a folder for its own files.
        runtime: name of the backend (`cvforge_edge.backends`) that the file is verified with.
    """

    write: Callable[[TracedGraph, Mapping[str, Path]], None]
    quantiser: Callable[[Path, Sequence[np.ndarray], Path], Quantiser]
    runtime: str


FORMATS = {
    "tflite": Format(write_tflite, TFLiteQuantiser, runtime="litert"),
    "onnx": Format(write_onnx, OnnxQuantiser, runtime="onnxruntime"),
}
"""By name, which is also the file ending; a device prefers the first that it can run."""

BATCH_FORMAT = "onnx"
"""The one that also has a form for any number of images at once, for servers."""

INT8 = "int8"
FLOAT_PRECISIONS = ("fp32", "fp16")
PRECISIONS = (*FLOAT_PRECISIONS, INT8)
"""What every format can be written in; a device prefers the first."""
