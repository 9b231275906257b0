"""What every tensor of a TFLite file holds for given images, as real numbers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np


def read_tensors(path: Path, inputs_u8: Iterable[np.ndarray], names: set[str]) -> list[dict[str, np.ndarray]]:
    """The named tensors of all images at once; see `each_image`."""
    return list(each_image(path, inputs_u8, names))


def each_image(path: Path, inputs_u8: Iterable[np.ndarray], names: set[str]) -> Iterator[dict[str, np.ndarray]]:
    """The named tensors of one image after the other; those that the runtime has merged into an operator are left out.

    Args:
        path: the file.
        inputs_u8: prepared images (h, w, 3) uint8.
        names: of tensors.
    """
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path), num_threads=1, experimental_preserve_all_tensors=True)
    run = interpreter.get_signature_runner()
    details = [detail for detail in interpreter.get_tensor_details() if detail["name"] in names]
    for input_u8 in inputs_u8:
        run(image=input_u8[None])
        tensors = {detail["name"]: _real(interpreter, detail) for detail in details}
        yield {name: values for name, values in tensors.items() if values is not None}


def _real(interpreter: Any, detail: dict[str, Any]) -> np.ndarray | None:
    try:
        values = np.asarray(interpreter.get_tensor(detail["index"]))
    except ValueError:  # no longer there
        return None
    scale, zero_point = detail["quantization"]
    return values if not scale else np.asarray((values.astype(np.float32) - zero_point) * scale)
