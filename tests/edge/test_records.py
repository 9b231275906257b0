"""Our dataclasses say the same as those of the standard library, whatever they are given."""

from __future__ import annotations

import copy
import dataclasses
import pickle
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cvforge_edge
from cvforge_edge import records

Decorator = Callable[..., Any]
ARGUMENTS: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
    ((), {}),
    ((1,), {}),
    ((1, "b"), {}),
    ((1, "b", [3], 4.0), {}),
    ((1, "b", [3], 4.0, 5), {}),
    ((), {"a": 1, "d": 2.0}),
    ((1,), {"a": 1}),
    ((1,), {"a": 1, "b": "b", "c": [], "d": 1.0}),
    ((1,), {"z": 1}),
    ((), {"z": 1, "b": "b", "c": [], "d": 1.0}),
    ((), {"b": "b"}),
    ((-1,), {}),
]


def made_by(decorator: Decorator, **options: bool) -> type[Any]:
    @decorator(**options)
    class Thing:
        """Something."""

        a: int
        b: str = "x"
        c: list[int] = dataclasses.field(default_factory=list)
        d: float = dataclasses.field(default=0.5, repr=False, compare=False)
        kept = 7

        def __post_init__(self) -> None:
            if self.a < 0:
                raise ValueError(f"a: found {self.a}")

    return Thing


@records.dataclass(frozen=True)
class Pickled:
    """At the top of a module, as what is pickled must be."""

    number: int = 3


@pytest.fixture(params=[{}, {"frozen": True}, {"frozen": True, "eq": False}, {"eq": False}], ids=str)
def pair(request: pytest.FixtureRequest) -> tuple[type[Any], type[Any]]:
    return made_by(dataclasses.dataclass, **request.param), made_by(records.dataclass, **request.param)


def outcome(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except Exception as error:
        return type(error)


@pytest.mark.parametrize(("given", "named"), ARGUMENTS, ids=str)
def test_instances_are_made_alike(pair, given, named):
    theirs, ours = (outcome(lambda cls=cls: cls(*given, **named)) for cls in pair)
    if isinstance(theirs, type):
        assert ours is theirs
    else:
        assert vars(ours).keys() == vars(theirs).keys() and ours.__dict__ == theirs.__dict__
        assert repr(ours) == repr(theirs)


def test_comparing_hashing_setting_and_deleting_are_alike(pair):
    def said(cls: type[Any]) -> list[Any]:
        first, same, other = cls(1, c=[1], d=1.0), cls(1, c=[1], d=2.0), cls(2)
        hashable = cls(1, c=())
        return [
            *(first == same, first != same, first == other, first == 1, first == (1, "x", [1])),
            outcome(lambda: hash(first)) is TypeError,
            outcome(lambda: hash(hashable) == hash(cls(1, c=()))),
            *(outcome(partial(setattr, other, name, 1)) for name in ("a", "z")),
            *(outcome(partial(delattr, other, name)) for name in ("a", "z")),
            cls.kept,
        ]

    theirs, ours = map(said, pair)
    assert ours == theirs


def test_the_functions_of_the_standard_library_take_them(pair):
    theirs, ours = (cls(1, c=[1, 2]) for cls in pair)
    assert dataclasses.is_dataclass(ours)
    assert dataclasses.asdict(ours) == dataclasses.asdict(theirs)
    assert [field.name for field in dataclasses.fields(ours)] == [field.name for field in dataclasses.fields(theirs)]
    changed = dataclasses.replace(ours, b="y")
    assert (changed.a, changed.b, changed.c, changed.d) == (1, "y", [1, 2], 0.5)
    assert outcome(lambda: dataclasses.replace(ours, z=1)) is outcome(lambda: dataclasses.replace(theirs, z=1))
    assert type(ours).__match_args__ == type(theirs).__match_args__
    assert copy.copy(ours).__dict__ == ours.__dict__


def test_each_instance_has_a_list_of_its_own(pair):
    assert pair[1](1).c is not pair[1](1).c


def test_pickles_and_methods_of_a_class_are_kept():
    assert pickle.loads(pickle.dumps(Pickled(4))) == Pickled(4)

    @records.dataclass(frozen=True)
    class Named:
        name: str

        def __repr__(self) -> str:
            return "secret"

        def __eq__(self, other: object) -> bool:
            return True

        def __hash__(self) -> int:
            return 5

    assert repr(Named("a")) == "secret" and Named("a") == Named("b") and hash(Named("a")) == 5


def test_arrays_are_compared_by_who_they_are():
    @records.dataclass(frozen=True, eq=False)
    class Boxes:
        xyxy: Any

    first = Boxes(np.zeros(3))
    assert first == first and first != Boxes(np.zeros(3))


def test_messages_name_what_was_wrong():
    thing = made_by(records.dataclass)
    for call, message in (
        (lambda: thing(), "missing 1 required arguments: a"),
        (lambda: thing(1, 2, 3, 4, 5), "takes 4 arguments but 5 were given"),
        (lambda: thing(1, a=2), "multiple values for argument 'a'"),
        (lambda: thing(1, z=2), "unexpected keyword argument 'z'; there are a, b, c, d"),
    ):
        with pytest.raises(TypeError, match=re.escape(message)):
            call()


@pytest.mark.parametrize("options", [{"init": False, "default": 1}, {"kw_only": True}], ids=str)
def test_what_is_not_supported_is_refused(options):
    with pytest.raises(TypeError, match="init=False or kw_only=True"):

        @records.dataclass
        class Thing:
            a: int = dataclasses.field(**options)


def test_the_runtime_uses_no_other():
    folder = Path(cvforge_edge.__file__).parent
    found = [
        path for path in folder.rglob("*.py") if re.search(r"from dataclasses import .*\bdataclass\b", path.read_text())
    ]
    assert found == [folder / "records.py"]
