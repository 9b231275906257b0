"""Reads a COCO annotation file strictly: NaN and Infinity, which JSON does not know, are found and located."""

from __future__ import annotations

import json
import math
import re
import sys
from pathlib import Path
from typing import Any

from cvforge.data.problems import Problems

LARGEST = sys.float_info.max
SECTIONS = ("images", "annotations", "categories")
NOT_JSON = re.compile(r"(?<![\w\"])-?(?:NaN|Infinity)(?![\w\"])")


def read_coco_json(path: Path, problems: Problems) -> dict[str, list[Any]]:
    """The three lists of a COCO file; what is wrong with the file goes to `problems`."""
    empty: dict[str, list[Any]] = {section: [] for section in SECTIONS}
    if not path.is_file():
        problems.add(f"{path}: no such file")
        return empty
    constants: list[str] = []
    try:
        text = path.read_text(encoding="utf-8-sig")
        document = json.loads(text, parse_constant=lambda name: _remember(name, constants))
    except ValueError as error:  # no UTF-8, no JSON, or a number of thousands of digits
        problems.add(f"{path}: not JSON: {error}")
        return empty
    if constants:
        _locate_constants(path, text, problems=problems)
    if not isinstance(document, dict):
        problems.add(f"{path}: found {type(document).__name__}, expected an object with {', '.join(SECTIONS)}")
        return empty
    for section in SECTIONS:
        if not isinstance(document.get(section), list):
            problems.add(f"{path}: {section!r} is missing or no list; expected {', '.join(SECTIONS)}")
            return empty
    return {section: document[section] for section in SECTIONS}


def is_whole(value: Any) -> bool:
    """Whether a JSON value is a whole number."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    """Whether a JSON value is a finite number."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and -LARGEST <= value <= LARGEST


def _remember(name: str, constants: list[str]) -> float:
    constants.append(name)
    return math.nan


def _locate_constants(path: Path, text: str, *, problems: Problems) -> None:
    for match in NOT_JSON.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        column = match.start() - text.rfind("\n", 0, match.start())
        around = text[max(0, match.start() - 40) : match.end() + 10].replace("\n", " ")
        problems.add(
            f"{path}, line {line}, column {column}: found {match.group()}, expected a finite number: ...{around}..."
        )
