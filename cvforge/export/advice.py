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
_PARITY = {
    "fp16": "Half-precision weights change this output more than they usually do: export fp32 only (--precision fp32)",
    "int8": (
        "Int8 changes this output so much that it is hardly the same network: measure the ranges on more images "
        "(export.calibration_images), or export fp16"
    ),
}
_PARITY_HOLDS = "; the score holds, and if it counts more, accept this with the key above, .{precision}=VALUE"
_PARITY_LOST = "; a metric budget does not help here"


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


def parity_advice(precision: str, *, score_holds: bool) -> str:
    """For a file whose raw outputs are too far from the checkpoint's though those of the fp32 one of its format are not.

    Args:
        precision: `fp16` or `int8`.
        score_holds: whether its score is within budget, or nothing was scored.
    """
    return _PARITY[precision] + (_PARITY_HOLDS.format(precision=precision) if score_holds else _PARITY_LOST)
