"""What becomes of the boxes of an annotation file: which are errors, which are dropped, which are clipped."""

from __future__ import annotations

import math

from cvforge.data.problems import Notes

Box = tuple[float, float, float, float]

ZERO_AREA = "boxes of zero area dropped"
OUTSIDE = "boxes wholly outside the image dropped"
CLIPPED = "boxes partly outside the image clipped"
CLIP_TOLERANCE_PX = 1.0
"""A box that leaves the image by less is clipped without a word: writers of annotations round differently."""


def box_fault(box_xyxy: Box) -> str | None:
    """Why these four numbers are no box at all, or None: not finite, or corners in the wrong order."""
    if not all(math.isfinite(value) for value in box_xyxy):
        return f"found {list(box_xyxy)}, expected four finite numbers"
    x1, y1, x2, y2 = box_xyxy
    if x2 < x1 or y2 < y1:
        return f"found corners {list(box_xyxy)}, expected x1 <= x2 and y1 <= y2"
    return None


def settle_box(box_xyxy: Box, *, image_hw: tuple[int, int], notes: Notes, place: str) -> Box | None:
    """The box as it is used: clipped to its image, or None where nothing of it remains.

    Args:
        box_xyxy: finite corners in order, in pixels of the image.
        image_hw: height and width of the image, in pixels.
        notes: counts what was dropped or clipped.
        place: where the box stands, for the notes.
    """
    x1, y1, x2, y2 = box_xyxy
    height, width = image_hw
    if x2 <= x1 or y2 <= y1:
        notes.add(ZERO_AREA, place=place)
        return None
    clipped = (max(x1, 0.0), max(y1, 0.0), min(x2, float(width)), min(y2, float(height)))
    if clipped[2] <= clipped[0] or clipped[3] <= clipped[1]:
        notes.add(OUTSIDE, place=place)
        return None
    if max(abs(a - b) for a, b in zip(clipped, box_xyxy, strict=True)) > CLIP_TOLERANCE_PX:
        notes.add(CLIPPED, place=place)
    return clipped
