"""A chart as inline SVG: frame, ticks, points and lines; colours follow the page, light or dark."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from cvforge.tune.axis import Axis

LEFT, RIGHT, TOP, BOTTOM = 62, 16, 14, 46
"""Margins, in pixels."""
TEXT_PX = 12
LONGEST_TICK = 14
COLOURS = {
    "complete": "#0b8ec4",
    "pruned": "#b8860b",
    "failed": "#c8483c",
    "best": "#2e9e5b",
}  # legible on black and white
RADIUS = 4.5


@dataclass(frozen=True)
class Point:
    """A dot with a text that shows where the pointer rests."""

    x: float
    y: float
    kind: str
    text: str


@dataclass(frozen=True)
class Line:
    """Connected points."""

    points: tuple[tuple[float, float], ...]
    kind: str
    text: str


def chart(
    title: str,
    x: Axis,
    y: Axis,
    *,
    x_label: str,
    y_label: str,
    points: Sequence[Point] = (),
    lines: Sequence[Line] = (),
    size_wh: tuple[int, int],
) -> str:
    """The chart as an SVG element.

    Args:
        title: read out in place of the picture.
        x: to the right.
        y: upwards.
        x_label: below.
        y_label: at the left.
        points: drawn above the lines.
        lines: drawn first.
        size_wh: width and height in pixels.
    """
    width, height = size_wh
    right, bottom = width - RIGHT, height - BOTTOM

    def at(place: tuple[float, float]) -> tuple[float, float]:
        return LEFT + x.place(place[0]) * (right - LEFT), bottom - y.place(place[1]) * (bottom - TOP)

    parts = [
        f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
        f'style="max-width:100%;height:auto" aria-label="{escape(title, quote=True)}" font-size="{TEXT_PX}" fill="currentColor">',
        f'<path d="M{LEFT} {TOP}V{bottom}H{right}" fill="none" stroke="currentColor" stroke-opacity=".5"/>',
    ]
    for value, text in x.ticks:
        place = LEFT + x.place(value) * (right - LEFT)
        parts.append(_grid(f"M{place:.1f} {TOP}V{bottom}"))
        parts.append(f'<text x="{place:.1f}" y="{bottom + 16}" text-anchor="middle">{_short(text)}</text>')
    for value, text in y.ticks:
        place = bottom - y.place(value) * (bottom - TOP)
        parts.append(_grid(f"M{LEFT} {place:.1f}H{right}"))
        parts.append(f'<text x="{LEFT - 6}" y="{place + 4:.1f}" text-anchor="end">{_short(text)}</text>')
    middle = (TOP + bottom) / 2
    parts += [
        f'<text x="{(LEFT + right) / 2:.0f}" y="{height - 8}" text-anchor="middle">{escape(x_label)}</text>',
        f'<text transform="translate(14 {middle:.0f}) rotate(-90)" text-anchor="middle">{escape(y_label)}</text>',
    ]
    parts += [_line([at(p) for p in line.points], line) for line in lines]
    parts += [_dot(at((point.x, point.y)), point) for point in points]
    return "\n".join([*parts, "</svg>"])


def legend(kinds: Sequence[str]) -> str:
    """Which colour means what, as a line of HTML."""
    dots = (
        f'<svg width="12" height="12" aria-hidden="true"><circle cx="6" cy="6" r="5" fill="{COLOURS[kind]}"/></svg> {kind}'
        for kind in kinds
    )
    return f'<p class="quiet">{" &nbsp; ".join(dots)}</p>'


def _grid(path: str) -> str:
    return f'<path d="{path}" stroke="currentColor" stroke-opacity=".12"/>'


def _line(places: list[tuple[float, float]], line: Line) -> str:
    corners = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    return (
        f'<polyline points="{corners}" fill="none" stroke="{COLOURS[line.kind]}" stroke-width="1.5" '
        f'stroke-opacity=".8"><title>{escape(line.text)}</title></polyline>'
    )


def _dot(place: tuple[float, float], point: Point) -> str:
    return (
        f'<circle cx="{place[0]:.1f}" cy="{place[1]:.1f}" r="{RADIUS}" fill="{COLOURS[point.kind]}" '
        f'fill-opacity=".85"><title>{escape(point.text)}</title></circle>'
    )


def _short(text: str) -> str:
    return escape(text if len(text) <= LONGEST_TICK else text[: LONGEST_TICK - 1] + "…")
