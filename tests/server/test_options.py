"""Options mean what they say, and whatever is wrong about them is said at once."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cvforge_edge.types import Task
from cvforge_server.errors import Code, RequestError
from cvforge_server.options import OPTION_NAMES, RequestOptions, read_options

LABELS = ("red", "blue", "light blue")
DETECTION, CLASSIFICATION, SEGMENTATION = Task.DETECTION, Task.CLASSIFICATION, Task.SEGMENTATION
TASK_OF = {"score_threshold": DETECTION, "classes": DETECTION, "masks": SEGMENTATION, "top": CLASSIFICATION}
ANY_VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=5,
)


def refusal(given_options: dict[str, Any], task: Task = DETECTION, labels: tuple[str, ...] = LABELS) -> RequestError:
    with pytest.raises(RequestError) as caught:
        read_options(given_options, task=task, labels=labels)
    assert caught.value.status == 400
    return caught.value


@pytest.mark.parametrize(
    ("name", "value", "read"),
    [
        ("score_threshold", "0.25", 0.25),
        ("score_threshold", 0, 0.0),
        ("score_threshold", 1.0, 1.0),
        ("score_threshold", "1e-3", 0.001),
        ("classes", "red", ("red",)),
        ("classes", "light blue,red", ("light blue", "red")),
        ("classes", ["blue", "red"], ("blue", "red")),
        ("masks", "none", "none"),
        ("masks", "rle", "rle"),
        ("masks", "polygon", "polygon"),
        ("masks", "png", "png"),
        ("top", "1", 1),
        ("top", 1000, 1000),
        ("top", "0012", 12),
        ("annotated", "true", True),
        ("annotated", "Yes", True),
        ("annotated", 1, True),
        ("annotated", True, True),
        ("annotated", "0", False),
        ("annotated", False, False),
        ("annotated", "no", False),
    ],
)
def test_a_value_is_read_from_text_and_from_json(name: str, value: Any, read: Any) -> None:
    options = read_options({name: value}, task=TASK_OF.get(name, DETECTION), labels=LABELS)
    assert getattr(options, name) == read
    assert type(getattr(options, name)) is type(read)
    unchanged = {other: getattr(RequestOptions(), other) for other in OPTION_NAMES if other != name}
    assert {other: getattr(options, other) for other in unchanged} == unchanged


def test_without_options_everything_is_as_documented() -> None:
    for task in Task:
        assert read_options({}, task=task, labels=LABELS) == RequestOptions(None, None, "none", 5, False)


@pytest.mark.parametrize(
    ("name", "values", "accepted"),
    [
        (
            "score_threshold",
            ["", "high", "-0.1", "1.01", 2, -1, True, None, [], {}, "nan", "inf", float("nan"), 10**400, "1_0"],
            "a number from 0 to 1",
        ),
        (
            "classes",
            ["", "red,", ",", [], {}, 3, None, True, ["red", 1], [""]],
            "names of classes, separated by commas",
        ),
        ("masks", ["", "RLE", "coco", 1, None, True, ["rle"]], "none, rle, polygon, png"),
        (
            "top",
            [
                "",
                "0",
                0,
                -1,
                "-1",
                "1001",
                1001,
                99999,
                "0099999",
                "9" * 5000,
                "5.0",
                5.0,
                True,
                None,
                "²",
                "٣",
                [5],
                10**300,
            ],
            "a whole number from 1 to 1000",
        ),
        ("annotated", ["", "on", 2, 1.0, None, [], "truee"], "true or false"),
    ],
)
def test_a_wrong_value_is_refused_with_what_is_accepted(name: str, values: list[Any], accepted: str) -> None:
    for value in values:
        problem = refusal({name: value}, TASK_OF.get(name, DETECTION))
        assert problem.code is Code.BAD_OPTION, value
        assert problem.message.startswith(f"{name}: found ")
        assert problem.message.endswith(f", accepted {accepted}")
        assert len(problem.message) < 200


def test_every_problem_is_told_at_once() -> None:
    problem = refusal({"score_threshold": "x", "top": 3, "masks": "rle", "annotated": "maybe", "classes": "pink"})
    assert problem.message == (
        "score_threshold: found 'x', accepted a number from 0 to 1; top: has no meaning for detection; "
        "masks: has no meaning for detection; annotated: found 'maybe', accepted true or false; "
        "classes: found 'pink', accepted 'red', 'blue', 'light blue'"
    )


@pytest.mark.parametrize(
    ("task", "names"),
    [
        (DETECTION, ("top", "masks")),
        (CLASSIFICATION, ("score_threshold", "masks")),
        (SEGMENTATION, ("score_threshold", "classes", "top")),
    ],
)
def test_an_option_without_meaning_for_the_task_is_refused(task: Task, names: tuple[str, ...]) -> None:
    good = {"score_threshold": 0.5, "classes": "red", "masks": "rle", "top": 3, "annotated": True}
    for name in names:
        problem = refusal({name: good.pop(name)}, task)
        assert (problem.code, problem.message) == (Code.BAD_OPTION, f"{name}: has no meaning for {task.value}")
    read_options(good, task=task, labels=LABELS)


def test_unknown_options_are_named_beside_those_that_exist() -> None:
    problem = refusal({"scroe_threshold": 0.5, "Top": 1, "annotated": "maybe"})
    assert problem.code is Code.UNKNOWN_OPTION
    assert problem.message == (
        "option: found 'scroe_threshold', 'Top', accepted score_threshold, classes, masks, top, annotated"
    )


def test_what_a_form_makes_of_a_body_without_content_type_leads_to_the_right_advice() -> None:
    problem = refusal({'{"images": ["' + "A" * 5000: ""})
    assert problem.code is Code.UNKNOWN_OPTION
    assert "a body that is an image or JSON needs a Content-Type" in problem.message
    assert len(problem.message) < 400


@pytest.mark.parametrize(
    "names", ["red," * 10_000 + "red", ["red"] * 10_001, "," * 2_000_000], ids=["text", "list", "commas"]
)
def test_millions_of_classes_are_refused_before_they_are_looked_at(names: Any) -> None:
    problem = refusal({"classes": names}, DETECTION)
    assert problem.code is Code.BAD_OPTION and len(problem.message) < 200
    assert "names of classes" in problem.message
    assert len(read_options({"classes": ["red"] * 10_000}, task=DETECTION, labels=LABELS).classes or ()) == 10_000


def test_messages_stay_short_where_names_are_many() -> None:
    many = [f"class {number}" for number in range(10_000)]
    assert refusal({"classes": many}).message.count("class ") == 20
    assert refusal({"classes": "pink"}, labels=tuple(many)).message.endswith("'class 19' and 9980 more")
    assert refusal(dict.fromkeys(many, 1)).message.count("class ") == 20


@settings(max_examples=120, deadline=None, derandomize=True, database=None)
@given(st.dictionaries(st.sampled_from(OPTION_NAMES), ANY_VALUE), st.sampled_from(list(Task)))
def test_random_values_are_read_or_refused(given_options: dict[str, Any], task: Task) -> None:
    try:
        options = read_options(given_options, task=task, labels=LABELS)
    except RequestError as problem:
        assert problem.code is Code.BAD_OPTION
    else:
        assert options.score_threshold is None or 0 <= options.score_threshold <= 1
        assert 1 <= options.top <= 1000
        assert set(options.classes or ()) <= set(LABELS)
