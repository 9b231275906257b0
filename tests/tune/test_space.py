"""Ranges in Hydra's sweep syntax: what they mean, and what is said about those that mean nothing."""

from __future__ import annotations

import pytest

from cvforge.tune.space import Choice, Numbers, SpaceError, parse_parameter


@pytest.mark.parametrize(
    ("written", "values"),
    [
        ("interval(0.1, 0.5)", Numbers(0.1, 0.5, None, log=False, whole=False)),
        ("interval(1, 2)", Numbers(1.0, 2.0, None, log=False, whole=False)),
        ("tag(log, interval(1e-4, 1e-2))", Numbers(1e-4, 1e-2, None, log=True, whole=False)),
        ("int(interval(1, 8))", Numbers(1, 8, None, log=False, whole=True)),
        ("tag(log, int(interval(1, 8)))", Numbers(1, 8, None, log=True, whole=True)),
        ("range(16, 65, step=16)", Numbers(16, 64, 16, log=False, whole=True)),
        ("range(1, 4)", Numbers(1, 3, 1, log=False, whole=True)),
        ("range(0.1, 0.5, 0.1)", Numbers(0.1, 0.4, 0.1, log=False, whole=False)),
        ("choice(edge_nano, edge_lite0)", Choice(("edge_nano", "edge_lite0"))),
        ("edge_nano,edge_lite0", Choice(("edge_nano", "edge_lite0"))),
        ("choice([192,192], [256,256])", Choice(("[192,192]", "[256,256]"))),
        ("choice(true, 8, 0.5)", Choice(("True", "8", "0.5"))),
    ],
)
def test_a_range_means_what_hydra_says(written: str, values: Numbers | Choice) -> None:
    assert parse_parameter("a.key", written).values == values


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("log(1e-4, 1e-2)", r"Unknown function 'log'; write tag\(log, interval\(LOW, HIGH\)\)"),
        ("0.001", "which is one value; a search needs a range"),
        ("glob(*)", r"found glob\(\), accepted: interval"),
        ("choice()", "empty choice"),
        ("choice(a, b, a)", "found a twice"),
        ("interval(2, 1)", "from 2.0 to 1.0, expected a lower number first"),
        ("tag(log, interval(0, 1))", "found 0.0 as the lower end of a logarithmic interval"),
        ("tag(log, range(1, 9))", r"interval\(\) can have the tag log"),
        ("tag(big, interval(1, 9))", "found the tag big; the only tag is log"),
        ("range(3, 1)", "found 0 values from 3 to 1"),
        ("range(1, 9, step=0)", "expected steps above 0"),
    ],
)
def test_what_is_no_range_is_refused_with_what_to_write(written: str, words: str) -> None:
    with pytest.raises(SpaceError, match=words):
        parse_parameter("optim.lr", written)


@pytest.mark.parametrize("key", ["task", "metric", "metric.max_detections", "data.val.count", "data.test", "run.dir"])
def test_what_makes_scores_comparable_cannot_be_searched(key: str) -> None:
    with pytest.raises(SpaceError, match="cannot be searched"):
        parse_parameter(key, "1,2")


def test_drawn_numbers_are_short_and_stay_inside_their_range() -> None:
    between = parse_parameter("optim.lr", "interval(0.0001234567, 0.99999)")
    assert between.override(0.012345678901) == "optim.lr=0.0123457"
    assert between.override(0.00012345671) == "optim.lr=0.000123457"
    assert between.override(0.9999899) == "optim.lr=0.99999"
    assert between.override(0.0001234567) == "optim.lr=0.000123457"
    assert parse_parameter("x", "int(interval(1, 8))").override(3) == "x=3"


def test_a_grid_has_all_points_of_ranges_with_an_end() -> None:
    assert parse_parameter("x", "range(0.1, 0.4, 0.1)").values.points == pytest.approx((0.1, 0.2, 0.3))
    assert parse_parameter("x", "int(interval(2, 4))").values.points == (2, 3, 4)
    assert parse_parameter("x", "b,a").values.points == ("b", "a")
    assert parse_parameter("x", "interval(0, 1)").values.points is None
