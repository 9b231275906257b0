"""Converts one saved program to TFLite: `python -m cvforge.export.tflite_worker PROGRAM PRECISION=PATH ...`."""

from __future__ import annotations

import shutil
import sys
import tempfile
import warnings
from pathlib import Path

from cvforge.export.tflite_graph import shorten_names, to_bytes

HALF_BITS = 16


def main(arguments: list[str]) -> None:
    """Write the file of every `PRECISION=PATH` argument from the program in the first one."""
    paths = {precision: Path(path) for precision, _, path in (item.partition("=") for item in arguments[1:])}
    warnings.simplefilter("ignore")  # this process does nothing but the conversion
    with tempfile.TemporaryDirectory(prefix="cvforge-tflite-") as folder:
        single = Path(folder) / "fp32.tflite"
        _convert(Path(arguments[0]), single)
        if "fp16" in paths:
            _store_weights_in_half(single, paths["fp16"])
        if "fp32" in paths:
            shutil.copyfile(single, paths["fp32"])


def _convert(program_path: Path, path: Path) -> None:
    import torch
    import torchvision  # noqa: F401 - before the converter: registers operators, and the other order crashes

    torch.set_num_threads(1)
    import litert_torch

    program = torch.export.load(program_path)
    _, sample_kwargs = program.example_inputs
    litert_torch.convert(program.module(), sample_kwargs=sample_kwargs).export(str(path))
    from ai_edge_litert.tools import flatbuffer_utils

    model = flatbuffer_utils.read_model(str(path))
    shorten_names(model)
    path.write_bytes(to_bytes(model))


def _store_weights_in_half(source: Path, target: Path) -> None:
    from ai_edge_quantizer import qtyping, quantizer
    from ai_edge_quantizer.algorithm_manager import AlgorithmName

    half = qtyping.OpQuantizationConfig(
        weight_tensor_config=qtyping.TensorQuantizationConfig(num_bits=HALF_BITS, dtype=qtyping.TensorDataType.FLOAT),
        compute_precision=qtyping.ComputePrecision.FLOAT,
    )
    operation = qtyping.TFLOperationName
    caster = quantizer.Quantizer(str(source))
    for name in (
        operation.CONV_2D,
        operation.DEPTHWISE_CONV_2D,
        operation.CONV_2D_TRANSPOSE,
        operation.FULLY_CONNECTED,
    ):
        caster.update_quantization_recipe(
            regex=".*", operation_name=name, op_config=half, algorithm_key=AlgorithmName.FLOAT_CASTING
        )
    caster.quantize().export_model(str(target), overwrite=True)


if __name__ == "__main__":
    main(sys.argv[1:])
