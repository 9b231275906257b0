"""Labels of points in a picture, placed so that none covers another."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

FONT_SIZE = 8
GAPS_POINTS = (5, 12, 24, 40, 60, 84)
"""How far from its marker a label is tried, the nearest first."""
DIRECTIONS = 16
LEADER_FROM_POINTS = 10
"""A label that is farther than this gets a line to its marker."""
LINE_MARGIN_POINTS = 2
POINTS_PER_INCH = 72


Line = tuple[tuple[float, float], tuple[float, float]]
"""From one point to another, in data coordinates."""


@dataclass(frozen=True)
class Mark:
    """A drawn point that gets a label.

    Attributes:
        x: in data coordinates, like the three below.
        y: of the marker's middle.
        low: lower end of its error bar; `y` where it has none.
        high: upper end of its error bar.
        radius_points: of the marker.
        text: its label.
        colour: of the label.
    """

    x: float
    y: float
    low: float
    high: float
    radius_points: float
    text: str
    colour: str


@dataclass(frozen=True)
class Box:
    """A rectangle in pixels of the picture, y upwards."""

    left: float
    bottom: float
    right: float
    top: float

    @property
    def area(self) -> float:
        """In pixels squared."""
        return (self.right - self.left) * (self.top - self.bottom)

    def shared(self, other: Box) -> float:
        """How much of it another box covers, in pixels squared."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.top, other.top) - max(self.bottom, other.bottom)
        return width * height if width > 0 and height > 0 else 0.0


def best_place(
    centre: tuple[float, float],
    size: tuple[float, float],
    *,
    radius: float,
    taken: Sequence[Box],
    inside: Box,
    unit: float,
) -> Box:
    """Where a label goes: as near to its marker as it fits, else where the least of it is covered or outside.

    Args:
        centre: of the marker, in pixels.
        size: width and height of the label, in pixels.
        radius: of the marker, in pixels.
        taken: markers, error bars and labels that it must not cover.
        inside: what it must not leave.
        unit: pixels a point.
    """
    places = [
        _box_around(centre, size, direction=direction, distance=radius + gap * unit)
        for gap in GAPS_POINTS
        for direction in range(DIRECTIONS)
    ]
    # min takes the first of equals: the nearest, and of these the one on the right.
    return min(places, key=lambda box: sum(box.shared(other) for other in taken) + box.area - box.shared(inside))


def place_labels(plot: Any, marks: Sequence[Mark], *, lines: Sequence[Line] = ()) -> list[Box]:
    """Write the text of each mark beside it; the places that the texts got, in pixels.

    Args:
        plot: axes of a figure that was drawn once, so that their place in it is known.
        marks: what was drawn.
        lines: what was drawn, too; level or upright ones only.
    """
    renderer = plot.figure.canvas.get_renderer()
    unit = plot.figure.dpi / POINTS_PER_INCH
    extent = plot.get_window_extent(renderer)
    inside = Box(extent.x0, extent.y0, extent.x1, extent.y1)
    centres = [tuple(plot.transData.transform((mark.x, mark.y))) for mark in marks]
    taken = [box for mark, centre in zip(marks, centres, strict=True) for box in _drawn(plot, mark, centre, unit=unit)]
    taken += [_line_box(plot, line, unit=unit) for line in lines]
    places = []
    for mark, centre in zip(marks, centres, strict=True):
        size = _text_size(plot, mark.text, renderer)
        box = best_place(centre, size, radius=mark.radius_points * unit, taken=taken, inside=inside, unit=unit)
        _write(plot, mark, box, centre=centre, unit=unit)
        taken.append(box)
        places.append(box)
    return places


def _box_around(centre: tuple[float, float], size: tuple[float, float], *, direction: int, distance: float) -> Box:
    """A label's box that touches a circle around a marker, in one of sixteen directions; 0 is to the right."""
    angle = 2 * math.pi * direction / DIRECTIONS
    middle_x = centre[0] + math.cos(angle) * (distance + size[0] / 2)
    middle_y = centre[1] + math.sin(angle) * (distance + size[1] / 2)
    return Box(middle_x - size[0] / 2, middle_y - size[1] / 2, middle_x + size[0] / 2, middle_y + size[1] / 2)


def _drawn(plot: Any, mark: Mark, centre: tuple[float, float], *, unit: float) -> list[Box]:
    """The marker and its error bar."""
    radius = mark.radius_points * unit
    marker = Box(centre[0] - radius, centre[1] - radius, centre[0] + radius, centre[1] + radius)
    return [marker, _line_box(plot, ((mark.x, mark.low), (mark.x, mark.high)), unit=unit)]


def _line_box(plot: Any, line: Line, *, unit: float) -> Box:
    (left, bottom), (right, top) = sorted(tuple(plot.transData.transform(end)) for end in line)
    bottom, top = min(bottom, top), max(bottom, top)
    margin = LINE_MARGIN_POINTS * unit
    return Box(left - margin, bottom - margin, right + margin, top + margin)


def _text_size(plot: Any, text: str, renderer: Any) -> tuple[float, float]:
    label = plot.text(0, 0, text, fontsize=FONT_SIZE, parse_math=False)
    extent = label.get_window_extent(renderer)
    label.remove()
    return extent.width, extent.height


def _write(plot: Any, mark: Mark, box: Box, *, centre: tuple[float, float], unit: float) -> None:
    middle = ((box.left + box.right) / 2, (box.bottom + box.top) / 2)
    offset = ((middle[0] - centre[0]) / unit, (middle[1] - centre[1]) / unit)
    nearest = (min(max(centre[0], box.left), box.right), min(max(centre[1], box.bottom), box.top))
    gap_points = math.dist(centre, nearest) / unit - mark.radius_points
    leader = {"arrowstyle": "-", "color": mark.colour, "linewidth": 0.7, "shrinkB": mark.radius_points}
    plot.annotate(
        mark.text,
        (mark.x, mark.y),
        xytext=offset,
        textcoords="offset points",
        fontsize=FONT_SIZE,
        color=mark.colour,
        ha="center",
        va="center",
        parse_math=False,
        zorder=4,
        arrowprops=leader if gap_points > LEADER_FROM_POINTS else None,
    )
