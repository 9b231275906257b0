"""What to try when an exported file is not good enough, by the kind of problem."""

from __future__ import annotations

_CONVERSION = (
    "The conversion itself is wrong or an operator differs: compare the rows of the other format, simplify the operator "
    "that the worst output depends on, and report it"
)
_HALF = (
    "Some weights do not survive half precision: export fp32 only (--precision fp32), train longer with weight decay, "
    "or accept the loss with export.metric_budget.fp16=VALUE"
)
_HALF_ROUNDING = "Export fp32 only (--precision fp32), or accept the loss with export.metric_budget.fp16=VALUE"
_INT8 = (
    "{floats} went back to float and that was not enough: measure the ranges on more images (export.calibration_images), "
    "allow more float layers (export.max_float_layers), export fp16, or accept the loss with "
    "export.metric_budget.int8=VALUE"
)


def conversion_advice() -> str:
    """For a file that is wrong in single precision, and for all others of its format, which are made like it."""
    return _CONVERSION


def metric_advice(precision: str, *, float_layers: int, explained: bool) -> str:
    """For a file whose score is too low though the fp32 one of its format holds.

    Args:
        precision: `fp16` or `int8`.
        float_layers: layers of an int8 file that stayed in float.
        explained: whether what was measured already says where the loss comes from; then nothing is guessed.
    """
    if precision == "int8":
        floats = f"{float_layers} layer{'' if float_layers == 1 else 's'}" if float_layers else "no layer"
        return _INT8.format(floats=floats)
    return _HALF_ROUNDING if explained else _HALF
