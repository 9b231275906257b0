"""Masks as text: run lengths, outlines, or a picture."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt


def encode_mask(mask: npt.NDArray[np.bool_], form: str) -> Any:
    """A mask (h, w) in one of the forms `rle`, `polygon` and `png`."""
    return _FORMS[form](mask)


def run_lengths(mask: npt.NDArray[np.bool_]) -> dict[str, Any]:
    """COCO's uncompressed run-length encoding of a mask (h, w): column by column, zeros first.

    Source: COCO API, `maskApi.c`, `rleEncode`; `pycocotools.mask.frPyObjects` reads it.
    """
    flat = mask.ravel(order="F")
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    counts = np.diff(np.concatenate(([0], changes, [flat.size])))
    starts_with_ones = bool(flat.size and flat[0])
    return {"size": list(mask.shape), "counts": [0, *counts.tolist()] if starts_with_ones else counts.tolist()}


def polygons(mask: npt.NDArray[np.bool_]) -> list[list[int]]:
    """The outlines of a mask's parts, each x1, y1, x2, y2, ... through the centres of its border pixels; holes are filled."""
    found, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    return [[int(value) for value in outline.ravel()] for outline in found]


def png_base64(values: npt.NDArray[Any]) -> str:
    """A PNG of one channel in base64: 255 inside a mask (h, w) bool, or the values of (h, w) uint8 as they are."""
    picture = values.astype(np.uint8) * 255 if values.dtype == np.bool_ else values
    return encoded_base64(picture, ".png")


def encoded_base64(picture: npt.NDArray[np.uint8], suffix: str, parameters: Sequence[int] = ()) -> str:
    """An image file in base64.

    Args:
        picture: (h, w) or (h, w, 3) uint8 BGR.
        suffix: of the format, for instance `.png`.
        parameters: OpenCV's, of the format.

    Raises:
        ValueError: the array cannot be encoded.
    """
    ok, data = cv2.imencode(suffix, picture, parameters)
    if not ok:
        raise ValueError(f"an array {picture.shape} {picture.dtype} cannot be encoded")
    return base64.b64encode(data.tobytes()).decode("ascii")


_FORMS = {"rle": run_lengths, "polygon": polygons, "png": png_base64}
