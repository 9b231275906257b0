"""What every tensor of a TFLite file holds for given images, as real numbers."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np


def read_tensors(path: Path, inputs_u8: Iterable[np.ndarray], names: set[str]) -> list[dict[str, np.ndarray]]:
    """The named tensors of each image; those that the runtime has merged into an operator are left out.

    Args:
        path: the file.
        inputs_u8: prepared images (h, w, 3) uint8.
        names: of tensors.
    """
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path), num_threads=1, experimental_preserve_all_tensors=True)
    run = interpreter.get_signature_runner()
    details = [detail for detail in interpreter.get_tensor_details() if detail["name"] in names]
    images = []
    for input_u8 in inputs_u8:
        run(image=input_u8[None])
        tensors = {detail["name"]: _real(interpreter, detail) for detail in details}
        images.append({name: values for name, values in tensors.items() if values is not None})
    return images


def channel_means(content: bytes, inputs_u8: Iterable[np.ndarray], tensor: int) -> np.ndarray:
    """Mean of every channel (the last axis) of one graph output over all images, as real numbers.

    Args:
        content: of a file that lists the tensor among its graph's outputs: the runtime keeps it without keeping all.
        inputs_u8: prepared images (h, w, 3) uint8.
        tensor: its number.
    """
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    input_index = interpreter.get_input_details()[0]["index"]
    detail = next(detail for detail in interpreter.get_tensor_details() if detail["index"] == tensor)
    means = []
    for input_u8 in inputs_u8:
        interpreter.set_tensor(input_index, input_u8[None])
        interpreter.invoke()
        values = _real(interpreter, detail)
        assert values is not None
        means.append(values.reshape(-1, values.shape[-1]).mean(axis=0))
    return np.mean(means, axis=0)


def _real(interpreter: Any, detail: dict[str, Any]) -> np.ndarray | None:
    try:
        values = np.asarray(interpreter.get_tensor(detail["index"]))
    except ValueError:  # no longer there
        return None
    scale, zero_point = detail["quantization"]
    return values if not scale else np.asarray((values.astype(np.float32) - zero_point) * scale)
