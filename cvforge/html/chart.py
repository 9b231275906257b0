"""Line charts as data, and as SVG inside a page: colours follow the reader's scheme, names are text below the chart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from cvforge.html.ticks import tick_texts, ticks

WIDTH, HEIGHT = 450, 275
LEFT, RIGHT, TOP, BOTTOM = 62, 12, 10, 40
COLOURS = 8
"""Lines that can be told apart; further ones repeat."""
MARKED_UP_TO = 40
"""Lines of at most so many points show them."""
STYLE = """
:root { --s0: #0b6e99; --s1: #c4561a; --s2: #2e7d32; --s3: #7e3f9e; --s4: #b3382c; --s5: #8a6d00; --s6: #00796b; --s7: #ad1457; }
@media (prefers-color-scheme: dark) { :root { --s0: #6fc3e6; --s1: #f0a36b; --s2: #7fd08a; --s3: #c9a0e6; --s4: #f08a80;
  --s5: #e0c25c; --s6: #5fcfc0; --s7: #f08ab8; } }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); gap: 1rem 1.75rem; }
.chart { margin: .5rem 0; min-width: 0; } .chart svg { display: block; width: 100%; max-width: 40rem; height: auto; }
.chart svg text { font: 12.5px system-ui, "DejaVu Sans", sans-serif; fill: var(--quiet); }
.chart figcaption { font-weight: 600; } .grid { stroke: var(--line); stroke-width: .7; } .axis { stroke: var(--quiet); }
.line { fill: none; stroke-width: 2; stroke-linejoin: round; }
.strong { stroke-width: 3.2; } .thin { stroke-width: .8; opacity: .55; }
.reference { stroke-width: 1.2; stroke-dasharray: 5 4; stroke: var(--quiet); } .later { stroke-dasharray: 7 3; }
.legend { display: flex; flex-wrap: wrap; gap: .1rem 1.1rem; margin: .25rem 0; padding: 0; list-style: none; font-size: .87rem; }
.legend i { display: inline-block; width: 1.4rem; margin-right: .4rem; border-top: 3px solid; vertical-align: middle; }
.legend .later i { border-top-style: dashed; } .legend .reference i { border-top: 2px dashed var(--quiet); }
"""


@dataclass(frozen=True)
class Line:
    """One line of a chart.

    Attributes:
        name: in the legend.
        points: (x, y), x ascending; what is not finite is left out.
        kind: `line`, `strong` for the one that matters most, `thin` for one of very many (it has no place in the legend), or
            `reference` for what the others are held against.
    """

    name: str
    points: tuple[tuple[float, float], ...]
    kind: str = "line"

    @property
    def finite(self) -> list[tuple[float, float]]:
        """The points that can be drawn."""
        return [(x, y) for x, y in self.points if math.isfinite(x) and math.isfinite(y)]


@dataclass(frozen=True)
class Chart:
    """What is drawn against what.

    Attributes:
        name: for files: letters and `-`.
        title: above it.
        x_label, y_label: with units.
        lines: what can be drawn; at least one of them has a finite point.
        x_range, y_range: what the axes span; None: what the lines need.
        note: a sentence below it, or nothing.
    """

    name: str
    title: str
    x_label: str
    y_label: str
    lines: tuple[Line, ...]
    x_range: tuple[float, float] | None = None
    y_range: tuple[float, float] | None = None
    note: str = ""


def charts(shown: Sequence[Chart]) -> str:
    """Charts beside each other where there is room."""
    return f'<div class="charts">{"".join(chart_figure(chart) for chart in shown)}</div>'


def chart_figure(chart: Chart) -> str:
    """A chart with its title and its legend."""
    note = f'<p class="quiet">{escape(chart.note)}</p>' if chart.note else ""
    return f'<figure class="chart"><figcaption>{escape(chart.title)}</figcaption>{_svg(chart)}{_legend(chart)}{note}</figure>'


def spans(chart: Chart) -> tuple[tuple[float, float], tuple[float, float]]:
    """What both axes span."""
    points = [point for line in chart.lines for point in line.finite]
    x_range = chart.x_range or _span([x for x, _ in points])
    return x_range, chart.y_range or _span([y for _, y in points])


def styled(chart: Chart) -> list[tuple[Line, int]]:
    """Each line with the number of its colour; lines of very many and references take none of the numbers."""
    numbered, number = [], 0
    for line in chart.lines:
        numbered.append((line, number))
        number += line.kind in ("line", "strong")
    return numbered


def _svg(chart: Chart) -> str:
    (x_low, x_high), (y_low, y_high) = spans(chart)

    def place(x: float, y: float) -> tuple[float, float]:
        across = (x - x_low) / (x_high - x_low)
        up = (y - y_low) / (y_high - y_low)
        return LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)

    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(_description(chart), quote=True)}">']
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    y_ticks, x_ticks = ticks(y_low, y_high), ticks(x_low, x_high)
    for y, text in zip(y_ticks, tick_texts(y_ticks), strict=True):
        height = place(x_low, y)[1]
        parts.append(f'<path class="grid" d="M{LEFT} {height:.1f}H{right}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{height + 4:.1f}" text-anchor="end">{text}</text>')
    for x, text in zip(x_ticks, tick_texts(x_ticks), strict=True):
        left = place(x, y_low)[0]
        parts.append(f'<path class="grid" d="M{left:.1f} {TOP}V{bottom}"/>')
        parts.append(f'<text x="{left:.1f}" y="{bottom + 17}" text-anchor="middle">{text}</text>')
    parts.append(f'<path class="axis" d="M{LEFT} {TOP}V{bottom}H{right}" fill="none"/>')
    middle = (LEFT + right) / 2
    parts.append(f'<text x="{middle}" y="{HEIGHT - 4}" text-anchor="middle">{escape(chart.x_label)}</text>')
    middle = (TOP + bottom) / 2
    turned = f'transform="rotate(-90 13 {middle})"'
    parts.append(f'<text x="13" y="{middle}" text-anchor="middle" {turned}>{escape(chart.y_label)}</text>')
    order = sorted(styled(chart), key=lambda entry: entry[0].kind == "strong")  # the most important one on top
    parts += [_line(line, number, [place(x, y) for x, y in line.finite]) for line, number in order]
    return "".join([*parts, "</svg>"])


def _line(line: Line, number: int, places: Sequence[tuple[float, float]]) -> str:
    corners = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    colour = _colour(line, number)
    classes = f"line {line.kind}{_later(line, number)}"
    title = f"<title>{escape(line.name)}</title>"
    drawn = f'<polyline class="{classes}" stroke="{colour}" points="{corners}">{title}</polyline>'
    if len(places) > MARKED_UP_TO or line.kind in ("thin", "reference"):
        return drawn
    return drawn + "".join(
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.6" fill="{colour}">{title}</circle>' for x, y in places
    )


def _colour(line: Line, number: int) -> str:
    return "var(--quiet)" if line.kind in ("thin", "reference") else f"var(--s{number % COLOURS})"


def _later(line: Line, number: int) -> str:
    """Dashes for the second half of the colours: hues alone do not tell eight lines apart."""
    dashed = number % COLOURS >= COLOURS // 2 and line.kind in ("line", "strong")
    return " later" if dashed else ""


def _legend(chart: Chart) -> str:
    named = [(line, number) for line, number in styled(chart) if line.kind != "thin"]
    if len(chart.lines) == 1:  # the title says what it is
        return ""
    entries = "".join(
        f'<li class="{line.kind}{_later(line, number)}"><i style="border-color:{_colour(line, number)}"></i>'
        f"{escape(line.name)}</li>"
        for line, number in named
    )
    return f'<ul class="legend">{entries}</ul>'


def _description(chart: Chart) -> str:
    """What the chart shows, for those who do not see it."""
    named = [line for line in chart.lines if line.kind in ("line", "strong") and line.finite]
    ends = "; ".join(
        f"{line.name} from {line.finite[0][1]:.3g} to {line.finite[-1][1]:.3g}" for line in named[:COLOURS]
    )
    return f"{chart.title}: {chart.y_label} against {chart.x_label}. {ends}"


def _span(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    room = 0.04 * (high - low) or abs(high) * 0.1 or 1.0
    return (low - room if low < 0 or low > room else 0.0), high + room
