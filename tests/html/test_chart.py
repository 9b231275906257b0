"""Charts as SVG: places of points, round ticks, descriptions, and nothing that a name could break."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from cvforge.html.chart import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Chart, Line, chart_figure, spans
from cvforge.html.ticks import tick_texts, ticks

NASTY = "a<b & \"c\" 'd'"


def chart(*lines: Line, **changes: object) -> Chart:
    return Chart("name", "Title", "across", "up", lines, **changes)  # type: ignore[arg-type]


def svg(shown: Chart) -> ElementTree.Element:
    found = re.search(r"<svg.*</svg>", chart_figure(shown))
    assert found is not None
    return ElementTree.fromstring(found[0])


def corners(shown: Chart) -> list[list[tuple[float, float]]]:
    """Places of the points of each line that is drawn."""
    texts = [line.attrib["points"] for line in svg(shown).iter("polyline")]
    return [[tuple(map(float, pair.split(","))) for pair in text.split()] for text in texts]


def test_points_lie_where_the_axes_say() -> None:
    line = Line("a", ((0.0, 0.0), (5.0, 1.0), (10.0, 2.0)))
    middle = (LEFT + (WIDTH - LEFT - RIGHT) / 2, TOP + (HEIGHT - TOP - BOTTOM) / 2)
    expected = [(LEFT, HEIGHT - BOTTOM), middle, (WIDTH - RIGHT, TOP)]
    (found,) = corners(chart(line, x_range=(0.0, 10.0), y_range=(0.0, 2.0)))
    assert found == [pytest.approx(place, abs=0.06) for place in expected]


def test_what_is_not_finite_is_left_out() -> None:
    line = Line("loss", ((0.0, 3.0), (1.0, float("nan")), (2.0, float("inf")), (3.0, 1.0)))
    (found,) = corners(chart(line))
    assert len(found) == 2
    assert spans(chart(line))[1] == (pytest.approx(0.92), pytest.approx(3.08))


def test_a_single_point_and_a_level_line_can_be_drawn() -> None:
    for points in (((2.0, 0.5),), ((0.0, 0.0), (1.0, 0.0)), ((1.0, -4.0), (2.0, -4.0))):
        (x_low, x_high), (y_low, y_high) = spans(chart(Line("a", points)))
        assert x_low < x_high
        assert y_low < y_high
        svg(chart(Line("a", points)))


def test_the_legend_names_lines_but_not_those_of_very_many() -> None:
    thin = [Line(f"class {k}", ((0.0, 0.0), (1.0, 1.0)), "thin") for k in range(30)]
    text = chart_figure(chart(*thin, Line("mean", ((0.0, 0.0), (1.0, 1.0)), "strong")))
    legend = re.findall(r"<li.*?</li>", text)
    assert len(legend) == 1
    assert "mean" in legend[0]
    assert "<title>class 7</title>" in text


def test_names_are_escaped_and_the_chart_is_described() -> None:
    shown = chart(Line(NASTY, ((0.0, 0.25), (1.0, 0.75))))
    root = svg(shown)
    assert root.attrib["role"] == "img"
    assert root.attrib["aria-label"] == f"Title: up against across. {NASTY} from 0.25 to 0.75"
    assert NASTY not in chart_figure(shown)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (0.9, 1.0, [0.9, 0.92, 0.94, 0.96, 0.98, 1.0]),
        (0, 0.003, [0, 0.001, 0.002, 0.003]),
        (-3, 12, [0, 5, 10]),
        (0, 12345, [0, 5000, 10000]),
    ],
)
def test_ticks_are_round(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high) == pytest.approx(expected)
    assert tick_texts(ticks(0, 0.3)) == ["0", "0.1", "0.2", "0.3"]


def test_small_ticks_fit_beside_their_axis() -> None:
    assert tick_texts(ticks(0, 0.0011)) == ["0", "5e-4", "1e-3"]
    assert tick_texts([20000.0, 40000.0, 120000.0]) == ["2e4", "4e4", "1.2e5"]
