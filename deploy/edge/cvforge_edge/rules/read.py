"""Reads a rules file: every problem is reported at once, with its place in the file."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from cvforge_edge.errors import RulesError
from cvforge_edge.rules.rule_types import (
    ANCHORS,
    DWELL_EVENTS,
    ClassChange,
    LabelHeld,
    LineCrossing,
    PixelShare,
    Point,
    Rule,
    Rules,
    ZoneDwell,
    ZoneOccupancy,
)
from cvforge_edge.rules.yaml_text import parse_yaml
from cvforge_edge.strict_json import Fields
from cvforge_edge.types import Task

UNITS = ("fraction", "pixels")
LEAST_CORNERS = 3
MAX_DISTANCE = 1.0


def read_rules(path: Path, *, task: Task, labels: Sequence[str]) -> Rules:
    """The rules of a file, held against the model that they are for.

    Args:
        path: a YAML file; docs/rules.md describes it.
        task: of the model.
        labels: of the model.

    Raises:
        RulesError: the file cannot be read, or something in it is wrong.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise RulesError(f"{path}: cannot be read ({reason}); give the path of a rules file") from error
    return parse_rules(parse_yaml(text, where=str(path)), task=task, labels=labels, where=str(path))


def parse_rules(value: Any, *, task: Task, labels: Sequence[str], where: str) -> Rules:
    """The rules that plain values stand for; see `read_rules`.

    Raises:
        RulesError: something is wrong; the message lists everything.
    """
    problems: list[str] = []
    fields = Fields(value, key="", problems=problems)
    scale = _scale(fields)
    draw = fields.boolean("draw") if fields.has("draw") else Rules.draw
    max_gap_s = _number(fields, "max_gap_s", default=Rules.max_gap_s)
    entries = fields.objects("rules")
    if entries == []:
        problems.append("rules: found none, expected at least one rule")
    rules = [_Reader(entry, problems, scale=scale, task=task, labels=labels).rule() for entry in entries or ()]
    fields.finish()
    names = [rule.name for rule in rules if rule is not None]
    problems += [f"rules: the name {name!r} is given twice" for name in sorted(set(names)) if names.count(name) > 1]
    if problems:
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        raise RulesError("\n".join([f"{where}: {count}", *(f"  {problem}" for problem in problems)]))
    return Rules(tuple(rule for rule in rules if rule is not None), draw=bool(draw), max_gap_s=max_gap_s)


def _scale(fields: Fields) -> Point | None:
    """What x and y of the file are divided by to become fractions; None where that cannot be said."""
    units = fields.choice("units", UNITS)
    if units == "pixels" or fields.has("picture_hw"):
        size = fields.integers("picture_hw")
        if units == "fraction":
            fields.problem("picture_hw: belongs to units: pixels; leave it out")
        elif size is not None and (len(size) != 2 or min(size) < 1):
            fields.problem(f"picture_hw: found {list(size)}, expected height and width in pixels")
            return None
        return None if size is None else (float(size[1]), float(size[0]))
    return (1.0, 1.0) if units == "fraction" else None


def _number(fields: Fields, name: str, *, default: float | None = None, high: float = math.inf) -> Any:
    """A number from 0 to `high`; None where it is wrong, or missing without a default."""
    if default is not None and not fields.has(name):
        return default
    value = fields.number(name)
    if value is not None and not (0 <= value <= high and math.isfinite(value)):
        accepted = "a number of at least 0" if math.isinf(high) else f"a number from 0 to {high:g}"
        fields.problem(f"{fields.path(name)}: found {value:g}, expected {accepted}")
        return None
    return value


class _Reader:
    """Reads one entry of `rules`."""

    def __init__(
        self, fields: Fields, problems: list[str], *, scale: Point | None, task: Task, labels: Sequence[str]
    ) -> None:
        self._fields, self._problems = fields, problems
        self._scale, self._task, self._labels = scale, task, labels

    def rule(self) -> Rule | None:
        """The rule; None where something is wrong with it, which is noted."""
        fields, before = self._fields, len(self._problems)
        name, kind = fields.text("name"), fields.choice("kind", tuple(_KINDS))
        if name is not None and (not name.strip() or not name.isprintable()):
            self._problem("name", name, "one line of text")
        if kind is None:
            return None
        task, make, read = _KINDS[kind]
        if task is not self._task:
            fields.problem(f"{fields.path('kind')}: {kind} is for {task.value}, but the model does {self._task.value}")
        values = {"name": name, "cooldown_s": _number(fields, "cooldown_s", default=0.0), **read(self)}
        values["sources"] = fields.texts("sources") if fields.has("sources") else None
        fields.finish()
        return make(**values) if len(self._problems) == before else None

    def line_crossing(self) -> dict[str, Any]:
        points = self._points("line", least=2, most=2)
        return {"line": points, **self._objects()}

    def zone_occupancy(self) -> dict[str, Any]:
        at_least = self._fields.integer("at_least", low=1) if self._fields.has("at_least") else 1
        return {"zone": self._zone(), "at_least": at_least, **self._objects(), **self._for_s()}

    def zone_dwell(self) -> dict[str, Any]:
        fields = self._fields
        long_s = _number(fields, "longer_than_s") if fields.has("longer_than_s") else None
        events = fields.texts("events") if fields.has("events") else DWELL_EVENTS
        for wrong in sorted(set(events or ()) - set(DWELL_EVENTS)):
            self._problem("events", wrong, _near(wrong, DWELL_EVENTS))
        if fields.has("events") and events is not None and ("dwelled" in events) != fields.has("longer_than_s"):
            fields.problem(f"{fields.path('events')}: dwelled and longer_than_s belong together; give both or neither")
        return {"zone": self._zone(), "longer_than_s": long_s, "events": events, **self._objects(), **self._for_s()}

    def label_held(self) -> dict[str, Any]:
        return {"label": self._label(), "min_score": self._min_score(LabelHeld.min_score), **self._for_s()}

    def class_change(self) -> dict[str, Any]:
        return {"min_score": self._min_score(ClassChange.min_score), **self._for_s()}

    def pixel_share(self) -> dict[str, Any]:
        zone = self._zone() if self._fields.has("zone") else None
        above = _number(self._fields, "above", high=1.0)
        return {"label": self._label(), "above": above, "zone": zone, **self._for_s()}

    def _min_score(self, default: float) -> Any:
        return _number(self._fields, "min_score", default=default, high=1.0)

    def _for_s(self) -> dict[str, Any]:
        return {"for_s": _number(self._fields, "for_s", default=0.0)}

    def _objects(self) -> dict[str, Any]:
        """Which objects count, and which point of them."""
        fields = self._fields
        labels = fields.texts("labels") if fields.has("labels") else None
        for index, label in enumerate(labels or ()):
            self._check_label(f"labels[{index}]", label)
        if labels == ():
            self._problem("labels", [], "at least one label, or leave it out for all")
        return {"labels": labels, "anchor": fields.choice("anchor", ANCHORS) if fields.has("anchor") else ANCHORS[0]}

    def _label(self) -> str | None:
        label = self._fields.text("label")
        if label is not None:
            self._check_label("label", label)
        return label

    def _check_label(self, key: str, label: str) -> None:
        if label not in self._labels:
            self._problem(key, label, f"a label of the model, {_near(label, self._labels)}")

    def _zone(self) -> tuple[Point, ...] | None:
        return self._points("zone", least=LEAST_CORNERS, most=None)

    def _points(self, name: str, *, least: int, most: int | None) -> tuple[Point, ...] | None:
        expected = "two points [x, y]" if most else f"a list of at least {least} points [x, y]"
        items = self._fields.items(name, expected)
        if items is None:
            return None
        points = [point for i, item in enumerate(items) if (point := self._point(f"{name}[{i}]", item)) is not None]
        if not least <= len(items) <= (most or len(items)):
            self._problem(name, items, expected)
        elif len(points) == len(items) and (len(set(points)) < least or (not most and _area(points) == 0)):
            self._problem(name, items, f"{expected} that are not one spot" + ("" if most else " or one line"))
        return tuple(points)

    def _point(self, key: str, item: Any) -> Point | None:
        scale_x, scale_y = self._scale or (math.inf, math.inf)
        numbers = isinstance(item, list) and len(item) == 2 and all(type(v) in (int, float) for v in item)
        if not numbers:
            self._problem(key, item, "[x, y]")
            return None
        if self._scale is None:  # that is a problem already
            return None
        x, y = item[0] / scale_x, item[1] / scale_y
        if not (0 <= x <= MAX_DISTANCE and 0 <= y <= MAX_DISTANCE):
            self._problem(key, item, f"x from 0 to {scale_x:g} and y from 0 to {scale_y:g}")
            return None
        return x, y

    def _problem(self, key: str, found: Any, expected: str) -> None:
        text = repr(found)
        self._fields.problem(f"{self._fields.path(key)}: found {text[:60]}, expected {expected}")


def _near(name: str, accepted: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, accepted, n=1)
    listed = "one of " + ", ".join(accepted[:12]) + (", ..." if len(accepted) > 12 else "")
    return f"{listed}; did you mean {near[0]}?" if near else listed


def _area(points: Sequence[Point]) -> float:
    """Of a polygon. Source: the shoelace formula."""
    pairs = zip(points, [*points[1:], points[0]], strict=True)
    return abs(sum(x1 * y2 - x2 * y1 for (x1, y1), (x2, y2) in pairs)) / 2


_KINDS: dict[str, tuple[Task, Callable[..., Rule], Callable[[_Reader], dict[str, Any]]]] = {
    "line_crossing": (Task.DETECTION, LineCrossing, _Reader.line_crossing),
    "zone_occupancy": (Task.DETECTION, ZoneOccupancy, _Reader.zone_occupancy),
    "zone_dwell": (Task.DETECTION, ZoneDwell, _Reader.zone_dwell),
    "label_held": (Task.CLASSIFICATION, LabelHeld, _Reader.label_held),
    "class_change": (Task.CLASSIFICATION, ClassChange, _Reader.class_change),
    "pixel_share": (Task.SEGMENTATION, PixelShare, _Reader.pixel_share),
}
