"""An imported network exactly as its maker left it, with preprocessing and decoding in numpy: what a bundle is held against."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from cvforge.errors import ExportError
from cvforge.export.compose import Import
from cvforge_edge.backends.onnx_runtime import load_onnxruntime
from cvforge_edge.errors import BackendError
from cvforge_edge.postprocess import PROBABILITY_SLACK

LOG_ERRORS_ONLY = 3
NORMALISED_LIMIT = 2.0
"""Boxes that nowhere reach beyond this many pixels are fractions of the input, not pixels."""


class OriginalBackend:
    """Runs the file itself, not the composed graph; implements `cvforge_edge.backends.Backend`.

    Args:
        plan: what is imported.

    Raises:
        BackendError: ONNX Runtime cannot load the file.
    """

    def __init__(self, plan: Import) -> None:
        self._plan = plan
        self._where = plan.original.path.name
        onnxruntime = load_onnxruntime()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = LOG_ERRORS_ONLY
        try:
            self._session: Any = onnxruntime.InferenceSession(
                str(plan.original.path), sess_options=options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # its own errors share no base class
            raise BackendError(f"{self._where}: onnxruntime cannot load this model: {error}") from None

    def run(self, image_u8: npt.NDArray[np.uint8]) -> dict[str, npt.NDArray[Any]]:
        """Outputs of the contract, with batch axis, for an input (1, h, w, 3) uint8 RGB.

        Raises:
            BackendError: inference fails.
            ExportError: the outputs do not have the shapes or values of the kind.
        """
        plan = self._plan
        image = plan.original.image
        tensor = plan.normalisation.apply(image_u8, image)
        try:
            found = self._session.run(list(plan.outputs), {image.name: tensor})
        except Exception as error:  # its own errors share no base class
            raise BackendError(f"{self._where}: inference failed: {error}") from None
        arrays = [a.astype(np.float32) if a.dtype.kind == "f" else a for a in found]
        for name, array, shape in zip(plan.outputs, arrays, plan.decode.shapes, strict=True):
            if len(array.shape) != len(shape) or any(
                b not in (None, a) for a, b in zip(array.shape, shape, strict=True)
            ):
                raise ExportError(
                    f"{self._where}: output {name!r} has shape {array.shape} when it runs, but its graph says {shape}; "
                    "export the network again with fixed shapes"
                )
        decoded = dict(plan.head.decode(arrays, plan.decode))
        _check_values(decoded, where=self._where)
        return decoded

    def close(self) -> None:
        """Free the model."""
        self._session = None


def _check_values(decoded: Mapping[str, npt.NDArray[Any]], *, where: str) -> None:
    """Catch the two classic mistakes, which no comparison of two equally wrong decoders would find."""
    for role in ("scores", "probs"):
        if role not in decoded:
            continue
        low, high = float(decoded[role].min()), float(decoded[role].max())
        if not (low >= -PROBABILITY_SLACK and high <= 1 + PROBABILITY_SLACK):
            raise ExportError(
                f"{where}: {role} run from {low:.3g} to {high:.3g} on a real image, accepted 0 to 1; the network gives "
                "logits or has another --kind, or its input is normalised otherwise (--scale, --mean, --std)"
            )
    boxes = decoded.get("boxes")
    if boxes is not None and boxes.any() and float(np.abs(boxes).max()) <= NORMALISED_LIMIT:
        raise ExportError(
            f"{where}: no box reaches beyond {float(np.abs(boxes).max()):.3g}, accepted pixels of the input; the network "
            "gives fractions of the input: export it again with boxes in pixels"
        )
