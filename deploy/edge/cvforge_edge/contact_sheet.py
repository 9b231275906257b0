"""Many pictures side by side on one sheet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import cv2
import numpy as np

from cvforge_edge.draw import DARK, Color, Style, put_text, text_size
from cvforge_edge.errors import SpecError

if TYPE_CHECKING:
    from cvforge_edge.draw import ImageU8

CELL_HW = (240, 320)
PAPER: Color = (250, 250, 250)


def contact_sheet(
    images: Sequence[ImageU8],
    *,
    columns: int = 4,
    captions: Sequence[str] | None = None,
    cell_hw: tuple[int, int] = CELL_HW,
) -> ImageU8:
    """Pictures side by side on one light sheet, each fitted into a cell of the same size.

    Args:
        images: at least one, each (h, w, 3) uint8 BGR of any size.
        columns: most pictures in a row.
        captions: one line of text under each picture, shortened where it is too long; None leaves no room for them.
        cell_hw: height and width of a picture's place, in pixels.

    Raises:
        SpecError: there is no picture, no column, or not one caption for each picture.
    """
    if not images or columns < 1 or (captions is not None and len(captions) != len(images)):
        found = "no captions" if captions is None else f"{len(captions)} captions"
        raise SpecError(
            f"contact sheet: found {len(images)} images, {columns} columns, {found}; "
            "give at least one image and one column, and one caption for each image or none"
        )
    style = Style.for_image(2 * cell_hw[0], 2 * cell_hw[1])
    margin = 2 * style.gap
    caption_height = 0 if captions is None else style.text + 3 * style.gap
    step_y, step_x = cell_hw[0] + caption_height + margin, cell_hw[1] + margin
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    sheet = np.full((margin + rows * step_y, margin + columns * step_x, 3), PAPER, np.uint8)
    for i, image in enumerate(images):
        top, left = margin + i // columns * step_y, margin + i % columns * step_x
        fitted = _fit(image, cell_hw)
        y, x = top + (cell_hw[0] - fitted.shape[0]) // 2, left + (cell_hw[1] - fitted.shape[1]) // 2
        sheet[y : y + fitted.shape[0], x : x + fitted.shape[1]] = fitted
        if captions is not None:
            baseline = top + cell_hw[0] + style.text + style.gap
            text = _shorten(captions[i], cell_hw[1], style)
            put_text(sheet, text, left=left, baseline=baseline, color=DARK, style=style)
    return sheet


def _fit(image: ImageU8, cell_hw: tuple[int, int]) -> ImageU8:
    """The picture at the largest size that fits a cell, proportions kept."""
    scale = min(cell_hw[0] / image.shape[0], cell_hw[1] / image.shape[1])
    height, width = (max(1, round(side * scale)) for side in image.shape[:2])
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(image, (width, height), interpolation=method), np.uint8)


def _shorten(text: str, width: int, style: Style) -> str:
    """The text, or its beginning and three dots where it is wider than `width` pixels."""
    if text_size(text, style)[1] <= width:
        return text
    while text and text_size(text + "...", style)[1] > width:
        text = text[:-1]
    return text + "..."
