"""Strict conversion of YAML values to annotations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Union

import pytest

from cvforge.config.problems import Problems
from cvforge.config.typed import UNKNOWN, convert

OPTIONAL_INT = Union[int, None]  # the old spelling, which other libraries use


def converted(value: Any, annotation: Any) -> tuple[Any, list[tuple[str, str]]]:
    problems = Problems()
    return convert(value, annotation, key="k", problems=problems), problems.found


@pytest.mark.parametrize(
    ("value", "annotation", "expected"),
    [
        (3, int, 3),
        (3, float, 3.0),
        ("a", str, "a"),
        (None, int | None, None),
        (None, OPTIONAL_INT, None),
        (3, float | int | None, 3),
        (3, float | None, 3.0),
        ([1, 2], tuple[int, int], (1, 2)),
        ([1, 2, 3], tuple[int, ...], (1, 2, 3)),
        ([1, 2], tuple[float, float], (1.0, 2.0)),
        ([1, 2], Sequence[int], [1, 2]),
        ("a", str | Sequence[str], "a"),
        (["a"], str | Sequence[str], ["a"]),
        ({"a": 1}, dict[str, float], {"a": 1.0}),
        ("x", Literal["x", "y"], "x"),
        ("a/b", Path, Path("a/b")),
        ("a/b", str | Path | None, "a/b"),
        ("anything", object(), "anything"),
        (UNKNOWN, int, UNKNOWN),
    ],
)
def test_a_fitting_value_is_taken_in_the_form_of_its_annotation(value: Any, annotation: Any, expected: Any) -> None:
    result, problems = converted(value, annotation)
    assert problems == []
    assert result == expected
    assert type(result) is type(expected)


@pytest.mark.parametrize(
    ("value", "annotation", "key", "words"),
    [
        (3, str, "k", "found 3 (a whole number), expected text"),
        ("3", int, "k", "found '3' (text), expected a whole number"),
        (2.0, int, "k", "expected a whole number; write 2"),
        (2.5, int, "k", "found 2.5 (a number), expected a whole number"),
        (True, int, "k", "found True (true or false), expected a whole number"),
        (True, float, "k", "expected a number"),
        (1, bool, "k", "expected true or false"),
        (None, int, "k", "found null, expected a whole number"),
        ([1, 2, 3], tuple[int, int], "k", "expected a list of 2 (a whole number, a whole number)"),
        ([1, "b"], list[int], "k[1]", "found 'b' (text), expected a whole number"),
        (["a", 2], list[str] | None, "k[1]", "expected text"),
        ("ab", list[str], "k", "found 'ab' (text), expected a list, each text"),
        ({"a": "b"}, dict[str, float], "k.a", "expected a number"),
        ([1], dict[str, int], "k", "expected a mapping"),
        ("z", Literal["x", "y"], "k", "expected one of x, y"),
        ("a", int | None, "k", "expected a whole number or null"),
        ({"a": 1}, int | None, "k", "found a mapping, expected a whole number or null"),
    ],
)
def test_an_unfitting_value_is_reported_where_it_is(value: Any, annotation: Any, key: str, words: str) -> None:
    _, problems = converted(value, annotation)
    assert [problem_key for problem_key, _ in problems] == [key]
    assert words in problems[0][1]


@dataclass
class Inner:
    size: int = 1


@dataclass
class Outer:
    name: str = "a"
    inner: Inner = field(default_factory=Inner)


def test_a_mapping_becomes_nested_dataclasses_with_their_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    assert converted({"inner": {"size": 4}}, Outer) == (Outer("a", Inner(4)), [])


def test_unknown_keys_of_nested_dataclasses_are_reported_with_the_nearest_name() -> None:
    _, problems = converted({"inner": {"sise": 4}, "nme": "b"}, Outer)
    assert problems == [
        ("k.nme", "unknown key; did you mean 'name'? accepted: inner, name"),
        ("k.inner.sise", "unknown key; did you mean 'size'? accepted: size"),
    ]
