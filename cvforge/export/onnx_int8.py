"""Int8 ONNX files of a float one, for ONNX Runtime."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from cvforge.errors import ExportError
from cvforge.export.int8 import entry_layers
from cvforge.export.noise import Layer, LayerNoise, layer_noise, noise_images
from cvforge.export.onnx import finish_onnx
from cvforge.export.onnx_rounding import OnnxRounding
from cvforge.export.wrap import INPUT_NAME
from cvforge_edge.backends.onnx_runtime import load_onnxruntime

WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
MIN_WEIGHTS = 256  # values; a smaller matrix is arithmetic, such as the mean over a distribution of distances
FLOAT_KINDS = ("HardSwish", "HardSigmoid")
ROUNDED_SUFFIX = "_DequantizeLinear_Output"  # of the tensor as the next layer sees it: rounded and clipped


class OnnxQuantiser:
    """Static int8 (QDQ) with one scale for each channel of the weights, true ranges, and float input and outputs.

    What follows the last weights and the entry stay in float, as in `TFLiteQuantiser`, and weights are rounded as there.
    Activations are uint8: signed ones run four times slower on x86.

    Args:
        source: the fp32 file.
        inputs_u8: prepared calibration images (h, w, 3) uint8.
        scratch: an existing folder for intermediate files.

    Raises:
        ExportError: ONNX Runtime cannot quantise this graph.
    """

    def __init__(self, source: Path, inputs_u8: Sequence[np.ndarray], scratch: Path) -> None:
        load_onnxruntime()
        from onnxruntime.quantization import CalibrationMethod, create_calibrator
        from onnxruntime.quantization.shape_inference import quant_pre_process

        self._prepared = scratch / "prepared.onnx"
        self._few = noise_images(inputs_u8)
        with _quiet("prepare"):
            quant_pre_process(str(source), str(self._prepared), skip_symbolic_shape=True)
            calibrator = create_calibrator(
                str(self._prepared),
                augmented_model_path=str(scratch / "augmented.onnx"),
                calibrate_method=CalibrationMethod.MinMax,
            )
            for input_u8 in inputs_u8:
                calibrator.collect_data(_Reader(input_u8))
            self._ranges = calibrator.compute_data()
        self._graph = onnx.load(self._prepared).graph
        self._weighted = weighted_nodes(self._graph)
        self._rounding = OnnxRounding(self._graph, self._weighted)
        with _quiet("round"):
            self._rounding.learn(_each_image(self._prepared, inputs_u8, self._rounding.sources))

    def write(self, target: Path, *, float_layers: Sequence[str] = ()) -> None:
        """Write the int8 file; the same ranges give the same bytes.

        Args:
            target: the file.
            float_layers: names of layers (`LayerNoise.name`) that stay in float.
        """
        from onnxruntime.quantization import QuantType
        from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
        from onnxruntime.quantization.registry import QDQRegistry

        left = {node.name for node in self._graph.node if node.op_type in FLOAT_KINDS}
        left |= {node.name for node in self._weighted if layer_name(node) in float_layers}
        left |= {node.name for node in self._weighted[: entry_layers(len(self._weighted))]}
        with _quiet("quantise"):
            quantizer = QDQQuantizer(
                onnx.load(self._prepared),
                per_channel=True,
                reduce_range=False,
                weight_qType=QuantType.QInt8,
                activation_qType=QuantType.QUInt8,
                tensors_range=self._ranges,
                nodes_to_quantize=[],
                nodes_to_exclude=sorted(left | set(tail_names(self._graph))),
                op_types_to_quantize=sorted(QDQRegistry),
                extra_options={},
            )
            quantizer.quantize_model()
            quantizer.model.topological_sort()
            self._rounding.apply(quantizer.model.model.graph)
        target.write_bytes(finish_onnx(quantizer.model.model, where=target.name))

    def noise(self, int8: Path) -> list[LayerNoise]:
        """The noise of every layer of an int8 file that `write` made, worst first; without those of the entry."""
        layers = [
            Layer(layer_name(node), node.op_type, output=_activated(self._graph, node.output[0]), source=node.input[0])
            for node in self._weighted[entry_layers(len(self._weighted)) :]
        ]
        names = sorted({name for layer in layers for name in (layer.output, layer.source)} - {INPUT_NAME})
        with _quiet("noise"):
            return layer_noise(layers, *(_tensors(path, self._few, names) for path in (self._prepared, int8)))


class _Reader:
    """One calibration image at a time: the whole set in one go would keep the tensors of every image."""

    def __init__(self, input_u8: np.ndarray) -> None:
        self._left = [{INPUT_NAME: input_u8[None]}]

    def get_next(self) -> dict[str, np.ndarray] | None:
        return self._left.pop() if self._left else None


def weighted_nodes(graph: Any) -> list[Any]:
    """The nodes with trained weights, in order."""
    sizes = {weight.name: int(np.prod(weight.dims)) for weight in graph.initializer}
    return [
        node
        for node in graph.node
        if node.op_type in WEIGHTED and max((sizes.get(name, 0) for name in node.input), default=0) >= MIN_WEIGHTS
    ]


def layer_name(node: Any) -> str:
    """A layer's name for a reader: that of its weights."""
    return str(node.input[1]).removeprefix("net.").removesuffix(".weight")


def _activated(graph: Any, tensor: str) -> str:
    """The tensor after the activation that the quantiser merges into its layer."""
    readers = [node for node in graph.node if tensor in node.input]
    merged = len(readers) == 1 and readers[0].op_type in ("Clip", "Relu")
    return str(readers[0].output[0]) if merged else tensor


def tail_names(graph: Any) -> list[str]:
    """Names of the nodes after the last weights: arithmetic on coordinates and scores, not on features."""
    leads_on = {node.name for node in weighted_nodes(graph)}
    needed: set[str] = set()  # tensors that lead to weights
    for node in reversed(graph.node):
        if node.name in leads_on or needed.intersection(node.output):
            leads_on.add(node.name)
            needed.update(node.input)
    return [node.name for node in graph.node if node.name not in leads_on]


def _tensors(path: Path, inputs_u8: Sequence[np.ndarray], names: Sequence[str]) -> list[dict[str, np.ndarray]]:
    """The named tensors of all images at once; see `_each_image`."""
    return list(_each_image(path, inputs_u8, names))


def _each_image(path: Path, inputs_u8: Sequence[np.ndarray], names: Sequence[str]) -> Iterator[dict[str, np.ndarray]]:
    """The named tensors of each image, after quantisation; those that the graph no longer has are left out."""
    onnxruntime = load_onnxruntime()
    model = onnx.load(path)
    there = {output for node in model.graph.node for output in node.output}
    given = {output.name for output in model.graph.output}
    rounded = {name: f"{name}{ROUNDED_SUFFIX}" for name in names if f"{name}{ROUNDED_SUFFIX}" in there}
    chosen = {name: rounded.get(name, name) for name in names if name in there}
    model.graph.output.extend(onnx.ValueInfoProto(name=tensor) for tensor in chosen.values() if tensor not in given)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    wanted = list(chosen.values())
    for input_u8 in inputs_u8:
        yield dict(zip(chosen, session.run(wanted, {INPUT_NAME: input_u8[None]}), strict=True))


@contextmanager
def _quiet(step: str) -> Iterator[None]:
    """Without the library's advice on the log, and with its many errors as one of ours."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except ExportError:
        raise
    except Exception as error:  # the quantiser raises whatever its graph surgery meets
        raise ExportError(f"onnx int8 ({step}): {type(error).__name__}: {error}") from error
    finally:
        root.setLevel(level)
