"""From the text of `manifest.json` to a manifest, with every problem of the text in one message."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, Union

from cvforge_edge.errors import BundleError, SpecError
from cvforge_edge.interval import ScoreInterval
from cvforge_edge.labels import label_problems
from cvforge_edge.manifest import (
    FORMATS,
    PRECISIONS,
    SCHEMA_VERSION,
    BundleFile,
    Manifest,
    MetricEntry,
    ModelFile,
    file_list_problems,
    name_problems,
    output_problems,
    problem_list,
)
from cvforge_edge.postprocess import KINDS, PostprocessSpec
from cvforge_edge.preprocess import COLOR_ORDERS, INTERPOLATIONS, RESIZE_MODES, PreprocessSpec
from cvforge_edge.strict_json import Fields, parse_strict
from cvforge_edge.types import Task

Made = TypeVar("Made")


def parse_manifest(text: str, *, where: str) -> Manifest:
    """`Manifest.from_json`; see there."""
    try:
        value = parse_strict(text)
    except ValueError as error:
        raise BundleError(f"{where}: not a manifest: {error}; export the bundle again") from None
    _check_schema_version(value, where=where)
    problems: list[str] = []
    parts = _read_parts(Fields(value, key="", problems=problems))
    problems += _cross_problems(parts)
    if problems:
        raise BundleError(problem_list(where, problems))
    return Manifest(**parts)


def _check_schema_version(value: Any, *, where: str) -> None:
    """Stop at another version first: its keys mean something else, and a list of them would mislead."""
    found = value.get("schema_version", SCHEMA_VERSION) if isinstance(value, dict) else SCHEMA_VERSION
    if isinstance(found, int) and not isinstance(found, bool) and found != SCHEMA_VERSION:
        step = "update the device runtime" if found > SCHEMA_VERSION else "export the bundle again"
        raise BundleError(f"{where}: schema_version: found {found}, accepted {SCHEMA_VERSION}; {step}")


def _read_parts(fields: Fields) -> dict[str, Any]:
    """Constructor arguments of a manifest; None stands for what cannot be read."""
    task = fields.choice("task", [task.value for task in Task])
    parts = {
        "schema_version": fields.integer("schema_version", low=1),
        "name": fields.text("name"),
        "version": fields.integer("version", low=1),
        "task": None if task is None else Task(task),
        "labels": fields.texts("labels"),
        "preprocess": _read_preprocess(fields.object("preprocess")),
        "outputs": fields.mapping("outputs", str, "text"),
        "postprocess": _read_postprocess(fields.object("postprocess")),
        "files": _read_all(fields.objects("files"), _read_file),
        "metrics": _read_all(fields.objects("metrics"), _read_metric),
        "reference_statistics": fields.free("reference_statistics"),
        "provenance": fields.free("provenance"),
    }
    fields.finish()
    return parts


def _cross_problems(parts: dict[str, Any]) -> list[str]:
    """What does not fit together among the parts that can be read."""
    problems = [] if parts["name"] is None else name_problems(parts["name"])
    if parts["labels"] is not None:
        problems += label_problems(parts["labels"])
    if None not in (parts["task"], parts["outputs"], parts["postprocess"]):
        problems += output_problems(parts["task"], parts["outputs"], parts["postprocess"])
    if None not in (parts["files"], parts["metrics"]):
        problems += file_list_problems(parts["files"], parts["metrics"])
    return problems


def _read_preprocess(fields: Fields | None) -> PreprocessSpec | None:
    if fields is None:
        return None
    arguments = {
        "size_hw": fields.integers("size_hw"),
        "resize": fields.choice("resize", RESIZE_MODES),
        "pad_value": fields.integer("pad_value", low=0),
        "color_order": fields.choice("color_order", COLOR_ORDERS),
        "interpolation": fields.choice("interpolation", tuple(INTERPOLATIONS)),
    }
    return _make(PreprocessSpec, arguments, fields)


def _read_postprocess(fields: Fields | None) -> PostprocessSpec | None:
    if fields is None:
        return None
    arguments = {
        "kind": fields.choice("kind", tuple(KINDS)),
        "score_threshold": fields.number("score_threshold"),
        "iou_threshold": fields.number("iou_threshold"),
        "max_detections": fields.integer("max_detections", low=1),
    }
    return _make(PostprocessSpec, arguments, fields)


def _read_file(fields: Fields) -> Union[ModelFile, BundleFile, None]:
    """A model where something is said that only models have, else any other file."""
    arguments: dict[str, Any] = {
        "path": fields.text("path"),
        "sha256": fields.text("sha256"),
        "size_bytes": fields.integer("size_bytes", low=0),
    }
    if not any(fields.has(key) for key in ("format", "precision", "batch")):
        return _make(BundleFile, arguments, fields)
    arguments["format"] = fields.choice("format", FORMATS)
    arguments["precision"] = fields.choice("precision", PRECISIONS)
    if fields.has("batch"):
        arguments["batch"] = fields.boolean("batch")
    return _make(ModelFile, arguments, fields)


def _read_metric(fields: Fields) -> MetricEntry | None:
    arguments: dict[str, Any] = {
        "subject": fields.text("subject"),
        "split": fields.text("split"),
        "primary": fields.text("primary"),
        "values": fields.mapping("values", (int, float), "a number"),
        "data_fingerprint": fields.text("data_fingerprint"),
        "run_id": fields.text("run_id"),
    }
    if fields.has("interval"):
        arguments["interval"] = _read_interval(fields.object("interval"))
    return _make(MetricEntry, arguments, fields)


def _read_interval(fields: Fields | None) -> ScoreInterval | None:
    if fields is None:
        return None
    return _make(ScoreInterval, {name: fields.number(name) for name in ("low", "high", "level")}, fields)


def _read_all(entries: list[Fields] | None, read: Callable[[Fields], Made | None]) -> tuple[Made, ...] | None:
    if entries is None:
        return None
    made = [read(entry) for entry in entries]
    return None if any(one is None for one in made) else tuple(one for one in made if one is not None)


def _make(kind: Callable[..., Made], arguments: dict[str, Any], fields: Fields) -> Made | None:
    """The thing that the arguments describe, or None with its problems noted."""
    fields.finish()
    if None in arguments.values():
        return None
    try:
        return kind(**arguments)
    except SpecError as error:
        for problem in str(error).split("; "):
            fields.problem(fields.path(problem))
        return None
