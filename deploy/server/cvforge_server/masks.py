"""Masks as text: run lengths, outlines, or a picture."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from cvforge_server.room import UNLIMITED, Room

if TYPE_CHECKING:
    import numpy.typing as npt


NUMBER_BYTES = 3
"""Of one number of a list in JSON, at least: a digit, a comma and a space."""


def encode_mask(mask: npt.NDArray[np.bool_], form: str, *, room: Room = UNLIMITED) -> Any:
    """A mask (h, w) in one of the forms `rle`, `polygon` and `png`.

    Raises:
        RequestError: there is not enough room for it.
    """
    return _FORMS[form](mask, room=room)


def run_lengths(mask: npt.NDArray[np.bool_], *, room: Room = UNLIMITED) -> dict[str, Any]:
    """COCO's uncompressed run-length encoding of a mask (h, w): column by column, zeros first.

    Source: COCO API, `maskApi.c`, `rleEncode`; `pycocotools.mask.frPyObjects` reads it.
    """
    flat = mask.ravel(order="F")
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    counts = np.diff(np.concatenate(([0], changes, [flat.size])))
    room.take(NUMBER_BYTES * counts.size)  # an array is small beside the numbers of Python
    starts_with_ones = bool(flat.size and flat[0])
    return {"size": list(mask.shape), "counts": [0, *counts.tolist()] if starts_with_ones else counts.tolist()}


def polygons(mask: npt.NDArray[np.bool_], *, room: Room = UNLIMITED) -> list[list[int]]:
    """The outlines of a mask's parts, each x1, y1, x2, y2, ... through the centres of its border pixels; holes are filled."""
    found, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    room.take(NUMBER_BYTES * sum(outline.size for outline in found))
    return [[int(value) for value in outline.ravel()] for outline in found]


def png_base64(values: npt.NDArray[Any], *, room: Room = UNLIMITED) -> str:
    """A PNG of one channel in base64: 255 inside a mask (h, w) bool, or the values of (h, w) uint8 as they are."""
    picture = values.astype(np.uint8) * 255 if values.dtype == np.bool_ else values
    return encoded_base64(picture, ".png", room=room)


def encoded_base64(
    picture: npt.NDArray[np.uint8], suffix: str, parameters: Sequence[int] = (), *, room: Room = UNLIMITED
) -> str:
    """An image file in base64.

    Args:
        picture: (h, w) or (h, w, 3) uint8 BGR.
        suffix: of the format, for instance `.png`.
        parameters: OpenCV's, of the format.
        room: for the text.

    Raises:
        ValueError: the array cannot be encoded.
        RequestError: there is not enough room for it.
    """
    ok, data = cv2.imencode(suffix, picture, parameters)
    if not ok:
        raise ValueError(f"an array {picture.shape} {picture.dtype} cannot be encoded")
    room.take(-(-data.size // 3) * 4)
    return base64.b64encode(data.data).decode("ascii")


_FORMS = {"rle": run_lengths, "polygon": polygons, "png": png_base64}
