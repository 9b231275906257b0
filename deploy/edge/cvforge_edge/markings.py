"""Lines, zones and counts that rules put into the annotated picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import cv2
import numpy as np

from cvforge_edge.draw import DARK, LIGHT, Box, Color, Style, put_text, text_size
from cvforge_edge.records import dataclass

if TYPE_CHECKING:
    import numpy.typing as npt

    from cvforge_edge.draw import ImageU8

QUIET: Color = (235, 206, 60)
ACTIVE: Color = (40, 80, 255)
ZONE_OPACITY = 0.18
ARROW_SIDES = 3.0
"""Length of the arrow that shows the direction of +1, in heights of a letter."""


@dataclass(frozen=True)
class Marking:
    """A line or a zone, and what is known of it.

    Attributes:
        points: x and y as fractions of the picture's width and height; two are a line, more a zone, none the whole picture.
        text: beside it.
        active: whether it shall be noticed.
    """

    points: tuple[tuple[float, float], ...]
    text: str
    active: bool = False


def draw_markings(canvas: ImageU8, markings: Sequence[Marking]) -> None:
    """Draw on the canvas itself, texts last.

    Args:
        canvas: (h, w, 3) uint8 BGR, changed in place.
        markings: in the order in which their texts get their places.
    """
    style = Style.for_image(*canvas.shape[:2])
    for marking in markings:
        _shape(canvas, marking, style)
    taken: list[Box] = []
    for marking in markings:
        taken.append(_text(canvas, marking, taken, style))


def _shape(canvas: ImageU8, marking: Marking, style: Style) -> None:
    if not marking.points:
        return
    corners = _corners(canvas, marking)
    color = ACTIVE if marking.active else QUIET
    if len(corners) == 2:
        start, end = (tuple(map(int, point)) for point in corners)
        _stroke(canvas, start, end, color, style)
        _arrow(canvas, corners, color, style)
        return
    mask = np.zeros(canvas.shape[:2], np.uint8)
    cv2.fillPoly(mask, [corners], 1)
    tinted = cv2.addWeighted(canvas, 1 - ZONE_OPACITY, np.full_like(canvas, color), ZONE_OPACITY, 0)
    cv2.copyTo(tinted, mask, canvas)
    cv2.polylines(canvas, [corners], True, DARK, style.line + 2, cv2.LINE_AA)
    cv2.polylines(canvas, [corners], True, color, style.line, cv2.LINE_AA)


def _arrow(canvas: ImageU8, corners: npt.NDArray[np.int32], color: Color, style: Style) -> None:
    """From the middle of a line to its right: the way that counts as +1."""
    along = (corners[1] - corners[0]).astype(float)
    right = np.array([-along[1], along[0]]) / max(float(np.hypot(*along)), 1.0)
    middle = corners.mean(0)
    tip = middle + right * ARROW_SIDES * style.text
    start, end = (tuple(int(v) for v in np.rint(point)) for point in (middle, tip))
    for stroke, ink in ((style.line + 2, DARK), (style.line, color)):
        cv2.arrowedLine(canvas, start, end, ink, stroke, cv2.LINE_AA, tipLength=0.35)


def _stroke(canvas: ImageU8, start: tuple[int, ...], end: tuple[int, ...], color: Color, style: Style) -> None:
    cv2.line(canvas, start, end, DARK, 2 * style.line + 2, cv2.LINE_AA)
    cv2.line(canvas, start, end, color, 2 * style.line, cv2.LINE_AA)


def _text(canvas: ImageU8, marking: Marking, taken: Sequence[Box], style: Style) -> Box:
    """Write the text at the shape's first point, or below what stands there already; the place that it took."""
    text_height, text_width = text_size(marking.text, style)
    height, width = text_height + style.gap, text_width + 2 * style.gap
    left, top = (int(v) for v in _corners(canvas, marking)[0]) if marking.points else (style.gap, style.gap)
    left = max(0, min(left + style.gap, canvas.shape[1] - width))
    top = max(0, min(top + style.gap, canvas.shape[0] - height))
    for other in sorted(taken, key=lambda place: place[1]):
        if left < other[2] and other[0] < left + width and top < other[3] and other[1] < top + height:
            top = other[3] + 1
    cv2.rectangle(canvas, (left, top), (left + width - 1, top + height - 1), DARK, cv2.FILLED)
    color = ACTIVE if marking.active else QUIET
    cv2.rectangle(canvas, (left, top), (left + style.line, top + height - 1), color, cv2.FILLED)
    baseline = top + (height + style.text) // 2
    put_text(canvas, marking.text, left=left + style.gap + style.line, baseline=baseline, color=LIGHT, style=style)
    return left, top, left + width, top + height


def _corners(canvas: ImageU8, marking: Marking) -> npt.NDArray[np.int32]:
    limit = np.array([canvas.shape[1] - 1, canvas.shape[0] - 1])
    return np.asarray(np.rint(np.array(marking.points) * limit), np.int32)
