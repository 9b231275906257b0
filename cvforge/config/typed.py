"""Strict conversion of plain YAML values to annotated types: nothing changes its kind in silence.

OmegaConf's own typed nodes turn 3 into "3" and int into float, know no `Literal`, and ignore the length of a tuple. So
values are held against annotations here: those of the dataclasses in `schema.py`, and of constructors.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import types
import typing
from pathlib import Path
from typing import Any

from cvforge.config.problems import Problems, join, suggestion


class _Unknown:
    """Stands for a value that is missing or cannot be resolved, and has been reported already."""

    def __repr__(self) -> str:
        return "<unknown>"


UNKNOWN = _Unknown()
_SCALARS: dict[type, str] = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
_SEQUENCES = (list, tuple, collections.abc.Sequence, collections.abc.Iterable, collections.abc.Collection)
_MAPPINGS = (dict, collections.abc.Mapping)


def convert(value: Any, annotation: Any, *, key: str, problems: Problems) -> Any:
    """The value as its annotation wants it: a whole number for a float field becomes a float, a list a tuple or list.

    Annotations that YAML cannot express (classes, callables, type variables) accept anything.

    Args:
        value: plain Python: None, bool, int, float, str, list, dict, or UNKNOWN.
        annotation: a type as `typing.get_type_hints` gives it.
        key: dotted path of the value, for messages.
        problems: receives every mismatch.

    Returns:
        The converted value; UNKNOWN or the value itself where it does not fit.
    """
    if isinstance(value, _Unknown) or annotation is Any:
        return value
    if dataclasses.is_dataclass(annotation) and isinstance(annotation, type) and isinstance(value, dict):
        return to_dataclass(value, annotation, key=key, problems=problems)
    trial = Problems()
    converted = _convert(value, annotation, key, trial)
    for problem_key, text in trial.found:
        problems.add(problem_key, text)
    return converted


def to_dataclass(value: dict[Any, Any], cls: type, *, key: str, problems: Problems) -> Any:
    """An instance of a dataclass from a mapping; unknown keys are reported, absent ones take their defaults."""
    hints = typing.get_type_hints(cls)
    names = [field.name for field in dataclasses.fields(cls)]
    for name in value:
        if name not in names:
            problems.add(join(key, name), "unknown key" + suggestion(str(name), names))
    given = [name for name in names if name in value]
    return cls(**{n: convert(value[n], hints[n], key=join(key, n), problems=problems) for n in given})


def describe(annotation: Any) -> str:
    """What an annotation accepts, in words."""
    if annotation is None or annotation is type(None):
        return "null"
    if annotation in _SCALARS:
        return _SCALARS[annotation]
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if _is_union(annotation):
        return " or ".join(describe(argument) for argument in arguments)
    if origin is typing.Literal:
        return "one of " + ", ".join(str(argument) for argument in arguments)
    if (origin or annotation) in _SEQUENCES:
        return _describe_sequence(origin, arguments)
    if (origin or annotation) in _MAPPINGS or dataclasses.is_dataclass(annotation):
        return "a mapping"
    if annotation is Path:
        return "a path"
    return getattr(annotation, "__name__", str(annotation))


def found(value: Any) -> str:
    """A value and its kind, in words."""
    if value is None:
        return "null"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return f"a list {value!r}"
    return f"{value!r} ({_SCALARS.get(type(value), type(value).__name__)})"


def _convert(value: Any, annotation: Any, key: str, problems: Problems) -> Any:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    kind = origin or annotation
    if _is_union(annotation):
        return _convert_union(value, annotation, key, problems)
    if kind is typing.Literal:
        return _expect(value, any(value == a and type(value) is type(a) for a in arguments), annotation, key, problems)
    if kind is None or kind is type(None):
        return _expect(value, value is None, annotation, key, problems)
    if kind is float and type(value) is int:
        return float(value)
    if kind in _SCALARS:
        return _expect(value, type(value) is kind, annotation, key, problems)
    if kind is Path:
        _expect(value, isinstance(value, str), annotation, key, problems)
        return Path(value).expanduser() if isinstance(value, str) else value
    if kind in _SEQUENCES:
        return _convert_sequence(value, annotation, key, problems)
    if kind in _MAPPINGS:
        return _convert_mapping(value, annotation, key, problems)
    if dataclasses.is_dataclass(kind):
        return _expect(value, isinstance(value, dict), annotation, key, problems)
    return value


def _convert_union(value: Any, annotation: Any, key: str, problems: Problems) -> Any:
    for argument in _exact_first(value, typing.get_args(annotation)):
        trial = Problems()
        converted = _convert(value, argument, key, trial)
        if not trial.found:
            return converted
        if any(problem_key != key for problem_key, _ in trial.found):  # the right container, a wrong item inside
            problems.found.extend(trial.found)
            return value
    return _expect(value, False, annotation, key, problems)


def _exact_first(value: Any, arguments: tuple[Any, ...]) -> list[Any]:
    """`float | int` keeps 3 an int."""
    return sorted(arguments, key=lambda argument: argument is not type(value))


def _convert_sequence(value: Any, annotation: Any, key: str, problems: Problems) -> Any:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if not isinstance(value, list):
        return _expect(value, False, annotation, key, problems)
    kind = origin or annotation
    fixed = kind is tuple and arguments and arguments[-1] is not Ellipsis
    if fixed and len(value) != len(arguments):
        return _expect(value, False, annotation, key, problems)
    item_types = arguments if fixed else [arguments[0] if arguments else Any] * len(value)
    items = [
        convert(item, item_type, key=f"{key}[{i}]", problems=problems)
        for i, (item, item_type) in enumerate(zip(value, item_types, strict=True))
    ]
    return tuple(items) if kind is tuple else items


def _convert_mapping(value: Any, annotation: Any, key: str, problems: Problems) -> Any:
    if not isinstance(value, dict):
        return _expect(value, False, annotation, key, problems)
    arguments = typing.get_args(annotation) or (Any, Any)
    return {
        convert(name, arguments[0], key=join(key, name), problems=problems): convert(
            item, arguments[1], key=join(key, name), problems=problems
        )
        for name, item in value.items()
    }


def _expect(value: Any, fits: bool, annotation: Any, key: str, problems: Problems) -> Any:
    if not fits:
        problems.add(key, f"found {found(value)}, expected {describe(annotation)}{_remedy(value, annotation, key)}")
    return value


def _remedy(value: Any, annotation: Any, key: str) -> str:
    accepts = typing.get_args(annotation) if _is_union(annotation) else (annotation,)
    if str in accepts and type(value) in (int, float, bool):
        return f"; quote it: \"{key}='{value}'\""
    if int in accepts and type(value) is float and value.is_integer():
        return f"; write {int(value)}"
    return ""


def _describe_sequence(origin: Any, arguments: tuple[Any, ...]) -> str:
    if not arguments:
        return "a list"
    if origin is tuple and arguments[-1] is not Ellipsis:
        return f"a list of {len(arguments)} ({', '.join(describe(argument) for argument in arguments)})"
    return f"a list, each {describe(arguments[0])}"


def _is_union(annotation: Any) -> bool:
    return typing.get_origin(annotation) in (typing.Union, types.UnionType)
