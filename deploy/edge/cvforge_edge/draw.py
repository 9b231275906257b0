"""Draws what a model says on a copy of the picture: pure functions whose sizes follow the size of the picture."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

import cv2
import numpy as np

from cvforge_edge.frame import MASK_OPACITY
from cvforge_edge.labels import label_name
from cvforge_edge.records import dataclass
from cvforge_edge.types import VOID_CLASS_ID, ClassScores, Detections, Prediction, SegmentationMap

if TYPE_CHECKING:
    import numpy.typing as npt

    ImageU8 = npt.NDArray[np.uint8]

Box = tuple[int, int, int, int]
Color = tuple[int, int, int]

FONT = cv2.FONT_HERSHEY_SIMPLEX
FONT_PIXELS = 22
"""Height of a capital letter of `FONT` at scale 1, in pixels."""
DARK: Color = (24, 24, 24)
LIGHT: Color = (255, 255, 255)
GOLDEN_RATIO = 0.618033988749895
FIRST_HUE = 0.36
PANEL_OPACITY = 0.72
BACKGROUND_LABEL = "background"
"""A segmentation class of this name is left clear, and not listed."""
LEGEND_ROWS = 12
TOP_CLASSES = 5


@dataclass(frozen=True)
class Style:
    """Sizes in pixels that suit a picture.

    Attributes:
        line: thickness of a box.
        text: height of a capital letter.
        stroke: thickness of the letters' strokes.
        gap: space around text.
    """

    line: int
    text: int
    stroke: int
    gap: int

    @classmethod
    def for_image(cls, height: int, width: int) -> Style:
        """Sizes for a picture of this size; they grow with the square root of its area."""
        side = (height * width) ** 0.5
        text = max(7, round(side / 52))
        return cls(line=max(1, round(side / 260)), text=text, stroke=max(1, round(text / 11)), gap=max(3, text // 3))

    @property
    def font_scale(self) -> float:
        """OpenCV's factor for this height of letters."""
        return self.text / FONT_PIXELS


@cache
def class_color(class_id: int) -> Color:
    """The colour (blue, green, red) of a class: always the same, and far from those of its neighbours.

    Hues follow the golden ratio, so that any number of classes divides the circle evenly; lightness alternates.
    """
    hue = (FIRST_HUE + class_id * GOLDEN_RATIO) % 1.0
    lightness = (0.52, 0.66, 0.42)[class_id % 3]
    red, green, blue = colorsys.hls_to_rgb(hue, lightness, 0.85)
    return round(blue * 255), round(green * 255), round(red * 255)


def draw_prediction(
    image_bgr: ImageU8, prediction: Prediction, *, labels: Sequence[str], mask_opacity: float = MASK_OPACITY
) -> ImageU8:
    """The picture with any kind of prediction drawn on a copy of it.

    Args:
        image_bgr: (h, w, 3) uint8.
        prediction: in pixels of this picture.
        labels: names of the classes, in the order of their ids.
        mask_opacity: of the colours of a segmentation, 0 to 1.
    """
    if isinstance(prediction, Detections):
        return draw_detections(image_bgr, prediction, labels=labels)
    if isinstance(prediction, SegmentationMap):
        return draw_segmentation(image_bgr, prediction, labels=labels, opacity=mask_opacity)
    return draw_classification(image_bgr, prediction, labels=labels)


def draw_detections(
    image_bgr: ImageU8, detections: Detections, *, labels: Sequence[str], scores: bool = True
) -> ImageU8:
    """The picture with a box and a label for every object, the surest on top.

    Args:
        image_bgr: (h, w, 3) uint8.
        detections: in pixels of this picture.
        labels: names of the classes, in the order of their ids.
        scores: whether labels say them; those of the truth mean nothing.
    """
    canvas = image_bgr.copy()
    style = Style.for_image(*canvas.shape[:2])
    order = np.argsort(-detections.scores, kind="stable")
    corners = np.rint(detections.boxes_xyxy).astype(int)
    for i in order[::-1]:
        _box(canvas, corners[i], class_color(int(detections.class_ids[i])), style)
    taken: list[Box] = []
    chips = []
    for i in order:  # the surest label gets the best place
        class_id = int(detections.class_ids[i])
        track = "" if detections.track_ids is None else f" #{int(detections.track_ids[i])}"
        score = f" {detections.scores[i]:.2f}" if scores else ""
        text = f"{label_name(labels, class_id)}{track}{score}"
        place = _chip_place(corners[i], text, canvas.shape[:2], taken, style)
        taken.append(place)
        chips.append((place, text, class_color(class_id)))
    for place, text, color in reversed(chips):  # after all boxes, so that no line crosses a label
        _chip(canvas, place, text, color, style)
    return canvas


def draw_segmentation(
    image_bgr: ImageU8, segmentation: SegmentationMap, *, labels: Sequence[str], opacity: float = MASK_OPACITY
) -> ImageU8:
    """The picture tinted with the colour of each pixel's class, and a legend with each class's share of the picture."""
    class_map = segmentation.class_map
    counts = np.bincount(class_map.ravel(), minlength=256)
    shown = [int(i) for i in np.argsort(-counts, kind="stable") if counts[i] and _is_tinted(int(i), labels)]
    palette = np.zeros((256, 3), np.uint8)
    tinted = np.zeros(256, np.uint8)
    for class_id in shown:
        palette[class_id], tinted[class_id] = class_color(class_id), 1
    blended = cv2.addWeighted(image_bgr, 1 - opacity, palette[class_map], opacity, 0)
    canvas = image_bgr.copy()
    cv2.copyTo(blended, tinted[class_map], canvas)
    rows = [f"{label_name(labels, i)}  {counts[i] / class_map.size:.0%}" for i in shown[:LEGEND_ROWS]]
    if len(shown) > LEGEND_ROWS:
        rows.append(f"and {len(shown) - LEGEND_ROWS} more")
    _panel(canvas, rows, colors=[class_color(i) for i in shown[:LEGEND_ROWS]])
    return canvas


def draw_classification(
    image_bgr: ImageU8, scores: ClassScores, *, labels: Sequence[str], count: int = TOP_CLASSES
) -> ImageU8:
    """The picture with the `count` strongest classes, each with its probability and a bar as long as it."""
    canvas = image_bgr.copy()
    top = scores.top(count)
    rows = [f"{label_name(labels, class_id)}  {prob:.0%}" for class_id, prob in top]
    _panel(canvas, rows, colors=[class_color(i) for i, _ in top], bars=[prob for _, prob in top])
    return canvas


def text_size(text: str, style: Style) -> tuple[int, int]:
    """Height above and below the baseline included, and width, of a line of text in pixels."""
    (width, height), below = cv2.getTextSize(text, FONT, style.font_scale, style.stroke)
    return height + below, width


def put_text(canvas: ImageU8, text: str, *, left: int, baseline: int, color: Color, style: Style) -> None:
    """Write a line of text on the canvas itself. OpenCV 4 shows letters outside ASCII as question marks."""
    cv2.putText(canvas, text, (left, baseline), FONT, style.font_scale, color, style.stroke, cv2.LINE_AA)


def _is_tinted(class_id: int, labels: Sequence[str]) -> bool:
    return class_id != VOID_CLASS_ID and label_name(labels, class_id).lower() != BACKGROUND_LABEL


def _box(canvas: ImageU8, corners: npt.NDArray[np.int_], color: Color, style: Style) -> None:
    x1, y1, x2, y2 = (int(v) for v in corners)
    # A dark line below the coloured one keeps the box visible on any ground.
    cv2.rectangle(canvas, (x1, y1), (x2, y2), DARK, style.line + 2)
    cv2.rectangle(canvas, (x1, y1), (x2, y2), color, style.line)


def _chip_place(
    corners: npt.NDArray[np.int_], text: str, image_hw: tuple[int, ...], taken: Sequence[Box], style: Style
) -> Box:
    """Where a label goes: above its box, inside at the top, inside at the bottom, or below; the first that is free."""
    text_height, text_width = text_size(text, style)
    height, width = text_height + style.gap, text_width + 2 * style.gap
    x1, y1, _, y2 = (int(v) for v in corners)
    left = max(0, min(x1 - style.line // 2 - 1, image_hw[1] - width))
    tops = [y1 - height, y1, y2 - height, y2]
    inside = [top for top in tops if 0 <= top <= image_hw[0] - height] or [0]
    places = [(left, top, left + width, top + height) for top in inside]
    free = [place for place in places if not any(_overlap(place, other) for other in taken)]
    return (free or places)[0]


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _chip(canvas: ImageU8, place: Box, text: str, color: Color, style: Style) -> None:
    """A label on a ground of its class's colour."""
    left, top, right, bottom = place
    cv2.rectangle(canvas, (left, top), (right - 1, bottom - 1), color, cv2.FILLED)
    baseline = top + (bottom - top + style.text) // 2
    put_text(canvas, text, left=left + style.gap, baseline=baseline, color=_ink(color), style=style)


def _ink(ground: Color) -> Color:
    """Dark or light letters, whichever reads better on the ground. Source: ITU-R BT.601 luma."""
    blue, green, red = ground
    return DARK if 0.299 * red + 0.587 * green + 0.114 * blue > 128 else LIGHT


def _panel(
    canvas: ImageU8, rows: Sequence[str], *, colors: Sequence[Color], bars: Sequence[float] | None = None
) -> None:
    """Rows of text with their colours on a dark ground in the top left corner of the canvas itself.

    Args:
        canvas: (h, w, 3) uint8, changed in place.
        rows: one text a row; rows beyond the height of the canvas are left out.
        colors: colour of the square, or bar, before each row; rows beyond them have none.
        bars: length of each row's bar in [0, 1]; None draws squares.
    """
    style = Style.for_image(*canvas.shape[:2])
    step = style.text + 2 * style.gap
    rows = rows[: max(0, (canvas.shape[0] - 3 * style.gap) // step)]
    if not rows:
        return
    bar_room = style.text if bars is None else 6 * style.text
    text_left = 3 * style.gap + bar_room
    width = min(canvas.shape[1], text_left + max(text_size(row, style)[1] for row in rows) + 2 * style.gap)
    ground = canvas[: style.gap + len(rows) * step, :width]
    ground[:] = np.rint(ground * (1 - PANEL_OPACITY) + np.array(DARK) * PANEL_OPACITY).astype(np.uint8)
    for i, row in enumerate(rows):
        top = style.gap + i * step + style.gap // 2
        if i < len(colors):
            length = style.text if bars is None else max(1, round(bars[i] * bar_room))
            left = 2 * style.gap
            cv2.rectangle(canvas, (left, top), (left + bar_room - 1, top + style.text), DARK, cv2.FILLED)
            cv2.rectangle(canvas, (left, top), (left + length - 1, top + style.text), colors[i], cv2.FILLED)
        put_text(canvas, row, left=text_left, baseline=top + style.text, color=LIGHT, style=style)
