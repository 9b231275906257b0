"""Quantises a TFLite file: `python -m cvforge.export.tflite_int8_worker COMMAND ...`, in a process of its own.

- `calibrate MODEL INPUTS RANGES`: the smallest and largest value of every tensor over all inputs.
- `round MODEL INPUTS ROUNDED`: the weights in steps, rounded for the least change of every layer's output.
- `quantise MODEL RANGES ROUNDED TARGET [FLOAT_LAYER ...]`: the int8 file with those weights; named layers stay in float.
- `noise MODEL INT8 INPUTS TARGET`: the noise of every layer, as JSON.
"""

from __future__ import annotations

import json
import re
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cvforge.export.int8 import entry_layers
from cvforge.export.noise import Layer, LayerNoise, layer_noise
from cvforge.export.tflite_graph import Graph, quantise_leaky, to_bytes
from cvforge.export.tflite_layout import sink_transposes
from cvforge.export.tflite_pixels import dequantise_pixels, stretch_constants
from cvforge.export.tflite_rounding import rounded_weights, use_rounded
from cvforge.export.tflite_slices import slice_parts
from cvforge.export.tflite_tensors import read_tensors

BITS = 8
FLOAT_KINDS = ("HARD_SWISH", "SOFTMAX")  # measured: at least four times faster in float than in int8, with all casts
BOUNDARY_KINDS = ("INPUT", "OUTPUT")  # images stay uint8, outputs stay float32


def main(arguments: Sequence[str]) -> None:
    """Run one command."""
    warnings.simplefilter("ignore")  # this process does nothing but the quantisation
    command, model, *rest = arguments
    if command == "calibrate":
        calibrate(Path(model), np.load(rest[0], allow_pickle=False), target=Path(rest[1]))
    elif command == "round":
        np.savez(rest[1], **rounded_weights(Path(model), np.load(rest[0], allow_pickle=False)))
    elif command == "quantise":
        ranges, rounded, target, *float_layers = rest
        made = quantised(
            Path(model),
            _read_ranges(Path(ranges)),
            rounded=dict(np.load(rounded, allow_pickle=False)),
            float_layers=float_layers,
        )
        Path(target).write_bytes(made)
    elif command == "noise":
        found = noise(Path(model), Path(rest[0]), np.load(rest[1], allow_pickle=False))
        Path(rest[2]).write_text(json.dumps([vars(layer) for layer in found]), encoding="utf-8")
    else:
        raise SystemExit(f"unknown command {command!r}")


def calibrate(model: Path, inputs_u8: np.ndarray, *, target: Path) -> None:
    """Write the true range of every tensor over inputs (n, h, w, 3) uint8; the quantiser's own average would clip."""
    from ai_edge_quantizer.calibrator import CalibrationInterpreter, CalibrationMode
    from ai_edge_quantizer.utils import qsv_utils

    interpreter = CalibrationInterpreter(
        str(model), CalibrationMode.CALIBRATION, qsv_update_func=qsv_utils.min_max_update
    )
    runner = interpreter.get_signature_runner(next(iter(interpreter.get_signature_list())))
    for input_u8 in inputs_u8:
        runner(image=input_u8[None])
    ranges = {
        name: {"min": np.asarray(found["min"]).tolist(), "max": np.asarray(found["max"]).tolist()}
        for name, found in interpreter.get_calibration_results().items()
        if found
    }
    target.write_text(json.dumps(ranges), encoding="utf-8")


def quantised(
    model: Path,
    ranges: dict[str, Any],
    *,
    rounded: Mapping[str, np.ndarray],
    float_layers: Sequence[str] = (),
) -> bytes:
    """The int8 file.

    Args:
        model: the float file.
        ranges: from `calibrate`.
        rounded: from `rounded_weights`.
        float_layers: names of operators that stay in float.
    """
    from ai_edge_litert.tools import flatbuffer_utils
    from ai_edge_quantizer import qtyping, quantizer
    from ai_edge_quantizer.algorithm_manager import AlgorithmName
    from ai_edge_quantizer.utils import tfl_flatbuffer_utils

    graph = Graph(flatbuffer_utils.read_model(str(model)))
    maker = quantizer.Quantizer(str(model))
    maker.add_static_config(".*", qtyping.TFLOperationName.ALL_SUPPORTED, BITS, BITS)

    def leave(regex: str, kind: str) -> None:
        operation = qtyping.TFLOperationName(kind)
        maker.update_quantization_recipe(regex, operation, algorithm_key=AlgorithmName.NO_QUANTIZE)

    for kind in (*FLOAT_KINDS, *BOUNDARY_KINDS):
        leave(".*", kind)
    known = {kind.value for kind in tfl_flatbuffer_utils.TFL_OP_CODE_TO_NAME.values()}
    layers = list(graph.weighted())
    # What lies between image and entry, too: in int8 it would be rounded there and back for every layer in float.
    entry = graph.with_sources(layers[: entry_layers(len(layers))])
    products = [n for n in range(len(graph.subgraph.operators)) if _multiplies_features(graph, n)]
    for number in {*graph.tail(), *entry, *products, *(n for n in layers if graph.name(n) in float_layers)}:
        kind = graph.kind(number).replace("TRANSPOSE_CONV", "CONV_2D_TRANSPOSE")
        if kind in known:
            leave(_exactly(graph.name(number)), kind)
    made = flatbuffer_utils.read_model_from_bytearray(
        bytearray(maker.quantize(ranges, enable_progress_report=False).quantized_model)
    )
    quantise_leaky(made)
    use_rounded(made, rounded, source=model)
    sink_transposes(made)
    slice_parts(made)
    dequantise_pixels(made)
    stretch_constants(made)
    return to_bytes(made)


def noise(model: Path, int8: Path, inputs_u8: np.ndarray) -> list[LayerNoise]:
    """What int8 does to every layer of a network, worst first."""
    from ai_edge_litert.tools import flatbuffer_utils

    graph = Graph(flatbuffer_utils.read_model(str(model)))
    operators = graph.subgraph.operators
    weighted = list(graph.weighted())
    layers = [
        Layer(name, graph.kind(number), output=name, source=graph.tensor_name(int(operators[number].inputs[0])))
        for number in weighted[entry_layers(len(weighted)) :]
        for name in [graph.name(number)]
    ]
    names = {name for layer in layers for name in (layer.output, layer.source)}
    return layer_noise(layers, *(read_tensors(path, inputs_u8, names) for path in (model, int8)))


def _multiplies_features(graph: Graph, number: int) -> bool:
    """Attention: XNNPACK multiplies two computed matrices in float only, ten times as fast as the built-in int8 kernel."""
    operator = graph.subgraph.operators[number]
    return graph.kind(number) == "BATCH_MATMUL" and not any(graph.is_constant(operator, place) for place in (0, 1))


def _exactly(name: str) -> str:
    return f"^{re.escape(name)};?$"  # scopes end in a separator


def _read_ranges(path: Path) -> dict[str, Any]:
    stored = json.loads(path.read_text(encoding="utf-8"))
    return {
        name: {key: np.asarray(value, np.float32) for key, value in found.items()} for name, found in stored.items()
    }


if __name__ == "__main__":
    main(sys.argv[1:])
