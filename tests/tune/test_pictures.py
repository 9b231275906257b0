"""The page of a study: places on axes, and charts that stand in the page itself."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from cvforge.tune.axis import linear_axis, log_axis, name_axis
from cvforge.tune.chart import Line, Point, chart
from cvforge.tune.pictures import courses, history, slices
from cvforge.tune.space import parse_parameter
from cvforge.tune.summary import TrialRecord, best_first


def a_record(number: int, state: str, score: float | None, lr: str, *epochs: tuple[int, float]) -> TrialRecord:
    return TrialRecord(
        number, state, score, {"optim.lr": lr, "model": "nano"}, f"trials/{number:03d}", "", epochs, 60.0
    )


FOUND = [
    a_record(0, "complete", 0.5, "0.001", (1, 0.3), (2, 0.5)),
    a_record(1, "pruned", 0.2, "0.01", (1, 0.2)),
    a_record(2, "failed", None, "0.1"),
    a_record(3, "complete", 0.8, "0.003", (1, 0.6), (2, 0.8)),
    a_record(4, "complete", 0.8, "0.004"),
]


def test_a_linear_axis_has_round_numbers_and_room_at_both_ends() -> None:
    axis = linear_axis([0.0, 1.0])
    assert [text for _, text in axis.ticks] == ["0", "0.5", "1"]
    assert axis.place(0.5) == pytest.approx(0.5)
    assert 0 < axis.place(0.0) < 0.1
    assert [text for _, text in linear_axis([0, 3], whole=True).ticks] == ["0", "1", "2", "3"]
    assert linear_axis([0.7, 0.7]).place(0.7) == pytest.approx(0.5)


def test_a_logarithmic_axis_gives_every_decade_the_same_room() -> None:
    axis = log_axis([1e-4, 1e-2])
    assert [text for _, text in axis.ticks] == ["0.0001", "0.001", "0.01"]
    assert axis.place(1e-3) == pytest.approx(0.5)
    assert axis.place(1e-2) - axis.place(1e-3) == pytest.approx(axis.place(1e-3) - axis.place(1e-4))


def test_names_stand_side_by_side() -> None:
    axis = name_axis(["a", "b"])
    assert [axis.place(value) for value, _ in axis.ticks] == [0.25, 0.75]


def test_a_chart_is_well_formed_whatever_its_texts_are() -> None:
    drawn = chart(
        '<"&>',
        linear_axis([0, 1]),
        name_axis(["<b>", "a name that is much too long for its place"]),
        x_label="a&b",
        y_label="<y>",
        points=[Point(0.5, 0, "pruned", "1 < 2")],
        lines=[Line(((0, 0), (1, 1)), "best", "&")],
        size_wh=(200, 100),
    )
    root = ElementTree.fromstring(drawn)
    assert root.get("aria-label") == '<"&>'
    assert [element.text for element in root.iter("title")] == ["&", "1 < 2"]
    circle = next(root.iter("circle"))
    assert (float(circle.get("cx") or 0), float(circle.get("cy") or 0)) == (123.0, 44.0)


def test_the_history_holds_every_score_and_the_best_so_far() -> None:
    drawn = history(FOUND, "top1")
    assert drawn is not None
    root = ElementTree.fromstring(drawn)
    titles = [element.text for element in root.iter("title")]
    assert titles[0] == "best so far"
    assert titles[1] == "trial 0 (complete) 0.5000: optim.lr=0.001 model=nano"
    assert len(titles) == 5
    heights = [float(corner.split(",")[1]) for corner in (next(root.iter("polyline")).get("points") or "").split()]
    assert heights == sorted(heights, reverse=True)
    assert len(set(heights)) == 2
    assert history(FOUND[2:3], "top1") is None


def test_courses_are_those_of_trials_with_several_epochs() -> None:
    drawn = courses(FOUND, "top1")
    assert drawn is not None
    root = ElementTree.fromstring(drawn)
    assert len([line for line in root.iter("polyline") if " " in (line.get("points") or "")]) == 2
    assert [circle[0].text for circle in root.iter("circle")] == ["trial 1 (pruned) 0.2000: optim.lr=0.01 model=nano"]
    assert courses(FOUND[1:3], "top1") is None


def test_there_is_a_slice_for_every_parameter() -> None:
    parameters = [
        parse_parameter("optim.lr", "tag(log, interval(1e-3, 1e-1))"),
        parse_parameter("model", "lite0,nano"),
    ]
    first, second = (ElementTree.fromstring(drawn) for drawn in slices(FOUND, parameters, "top1"))
    assert len(list(first.iter("circle"))) == len(list(second.iter("circle"))) == 4
    assert len({circle.get("cx") for circle in second.iter("circle")}) == 1


def test_of_equal_trials_the_earlier_is_the_better() -> None:
    assert [record.number for record in best_first(FOUND)] == [3, 4, 0]
