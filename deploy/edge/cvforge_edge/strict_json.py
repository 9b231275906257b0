"""JSON read without mercy: no NaN, no key twice, no unknown, missing or ill-typed key, all problems in one list."""

from __future__ import annotations

import json
import math
import sys
from collections import Counter
from collections.abc import Sequence
from typing import Any

MAX_DEPTH = 32
"""Nesting that a document may have; ours have four levels."""
MAX_SUGGESTIONS = 50
"""A document with a million unknown keys shall be refused within a second, too."""


def parse_strict(text: str) -> Any:
    """The value that JSON text stands for.

    Raises:
        ValueError: not JSON, a key given twice, NaN, Infinity or a number too large for a float, or nested too deep.
    """
    try:
        value = json.loads(
            text, object_pairs_hook=_unique, parse_constant=_refuse_constant, parse_float=_finite, parse_int=_whole
        )
    except RecursionError:
        raise ValueError("nested too deep to read") from None
    _check_depth(value, MAX_DEPTH)
    return value


def format_json(value: Any) -> str:
    """JSON text that is the same for the same value: sorted keys, two spaces of indent, a newline at the end.

    Raises:
        ValueError: the value holds NaN or Infinity.
    """
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


class Fields:
    """The fields of one JSON object, taken one by one; a problem is noted in `problems` and reading goes on.

    What cannot be read comes back as None, for the caller to leave out.
    """

    def __init__(self, value: Any, *, key: str, problems: list[str]) -> None:
        self._problems, self._key = problems, key
        self._taken: set[str] = set()
        self._values: dict[str, Any] = {}
        if isinstance(value, dict):
            self._values = value
            self._readable = True
        else:
            self._readable = False
            self._note(key or "top level", value, "an object")

    def text(self, name: str) -> str | None:
        """A string."""
        return self._take(name, str, "text")  # type: ignore[no-any-return]

    def choice(self, name: str, accepted: Sequence[str]) -> str | None:
        """One of a few strings."""
        value = self._take(name, str, "one of " + ", ".join(accepted))
        if value is not None and value not in accepted:
            self._note(self.path(name), value, "one of " + ", ".join(accepted))
            return None
        return value  # type: ignore[no-any-return]

    def boolean(self, name: str) -> bool | None:
        """True or false."""
        return self._take(name, bool, "true or false")  # type: ignore[no-any-return]

    def integer(self, name: str, *, low: int) -> int | None:
        """A whole number of at least `low`."""
        value = self._take(name, int, f"a whole number of at least {low}")
        if value is not None and value < low:
            self._note(self.path(name), value, f"a whole number of at least {low}")
            return None
        return value  # type: ignore[no-any-return]

    def number(self, name: str) -> float | None:
        """A finite number."""
        value = self._take(name, (int, float), "a number")
        return None if value is None else float(value)

    def texts(self, name: str) -> tuple[str, ...] | None:
        """A list of strings."""
        values = self._take(name, list, "a list of texts")
        wrong = [(i, v) for i, v in enumerate(values or ()) if not isinstance(v, str)]
        for index, value in wrong:
            self._note(f"{self.path(name)}[{index}]", value, "text")
        return None if values is None or wrong else tuple(values)

    def integers(self, name: str) -> tuple[int, ...] | None:
        """A list of whole numbers."""
        values = self._take(name, list, "a list of whole numbers")
        wrong = [(i, v) for i, v in enumerate(values or ()) if not isinstance(v, int) or isinstance(v, bool)]
        for index, value in wrong:
            self._note(f"{self.path(name)}[{index}]", value, "a whole number")
        return None if values is None or wrong else tuple(values)

    def numbers(self, name: str) -> tuple[float, ...] | None:
        """A list of finite numbers."""
        values = self._take(name, list, "a list of numbers")
        wrong = [(i, v) for i, v in enumerate(values or ()) if not isinstance(v, (int, float)) or isinstance(v, bool)]
        for index, value in wrong:
            self._note(f"{self.path(name)}[{index}]", value, "a number")
        return None if values is None or wrong else tuple(float(value) for value in values)

    def items(self, name: str, expected: str) -> list[Any] | None:
        """A list with any content; `expected` says what, for messages."""
        return self._take(name, list, expected)  # type: ignore[no-any-return]

    def mapping(self, name: str, kinds: type | tuple[type, ...], expected: str) -> dict[str, Any] | None:
        """An object of free keys whose values are all of the given kinds."""
        values = self._take(name, dict, f"an object of {expected} values")
        wrong = [(k, v) for k, v in (values or {}).items() if not isinstance(v, kinds) or isinstance(v, bool)]
        for key, value in wrong:
            self._note(f"{self.path(name)}.{key}", value, expected)
        return None if values is None or wrong else values

    def free(self, name: str) -> dict[str, Any] | None:
        """An object with any content."""
        return self._take(name, dict, "an object")  # type: ignore[no-any-return]

    def object(self, name: str) -> Fields | None:
        """An object, to be read field by field."""
        value = self._take(name, dict, "an object")
        return None if value is None else Fields(value, key=self.path(name), problems=self._problems)

    def objects(self, name: str) -> list[Fields] | None:
        """A list of objects, each to be read field by field."""
        values = self._take(name, list, "a list of objects")
        if values is None:
            return None
        return [
            Fields(value, key=f"{self.path(name)}[{index}]", problems=self._problems)
            for index, value in enumerate(values)
        ]

    def has(self, name: str) -> bool:
        """Whether an optional key is given."""
        self._taken.add(name)
        return name in self._values

    def path(self, name: str) -> str:
        """The full name of a key, for messages."""
        return f"{self._key}.{name}" if self._key else name

    def problem(self, text: str) -> None:
        """Note a problem that only the caller can see."""
        self._problems.append(text)

    def finish(self) -> None:
        """Note every key that nobody asked for."""
        known = ", ".join(sorted(self._taken))
        unknown = [name for name in self._values if name not in self._taken]
        for index, name in enumerate(unknown):
            suggestion = _suggestion(name, self._taken) if index < MAX_SUGGESTIONS else ""
            self._problems.append(f"{self.path(name)}: unknown key{suggestion}; accepted {known}")

    def _take(self, name: str, kinds: type | tuple[type, ...], expected: str) -> Any:
        self._taken.add(name)
        if not self._readable:
            return None
        if name not in self._values:
            self._problems.append(f"{self.path(name)}: missing, expected {expected}")
            return None
        value = self._values[name]
        if not isinstance(value, kinds) or (isinstance(value, bool) and kinds is not bool):
            self._note(self.path(name), value, expected)
            return None
        return value

    def _note(self, path: str, found: Any, expected: str) -> None:
        self._problems.append(f"{path}: found {_shortened(found)}, expected {expected}")


def _shortened(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."


def _suggestion(name: str, known: set[str]) -> str:
    import difflib  # only needed for a message

    near = difflib.get_close_matches(name, known, n=1)
    return f", did you mean {near[0]}?" if near else ""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        name, _ = Counter(name for name, _ in pairs).most_common(1)[0]
        raise ValueError(f"key {name!r} is given twice")
    return values


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a number that JSON allows")


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"{digits} is too large for a number")
    return value


def _whole(digits: str) -> int:
    """Whole numbers are used as floats here and there, so they must fit into one."""
    value = int(digits)
    if abs(value) > sys.float_info.max:
        raise ValueError(f"{_shortened(digits)} is too large for a number")
    return value


def _check_depth(value: Any, depth: int) -> None:
    if depth < 0:
        raise ValueError(f"nested deeper than {MAX_DEPTH} levels")
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for child in children:
        _check_depth(child, depth - 1)
