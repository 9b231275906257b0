"""The options of `tools/export.py import` that are more than a text: sizes, triples, ranges of numbers, labels."""

from __future__ import annotations

import argparse
import json
from fractions import Fraction
from pathlib import Path
from typing import Any

from cvforge.errors import ConfigError
from cvforge_edge.labels import label_problems

LABEL_FILE_SUFFIXES = (".txt", ".names", ".json")


def size(text: str) -> tuple[int, int]:
    """Height and width: `352,640`, or one number for both (an argparse type).

    >>> size("352")
    (352, 352)
    """
    sides = text.split(",")
    if len(sides) > 2 or not all(side.strip().isdecimal() for side in sides):
        raise argparse.ArgumentTypeError(f"found {text!r}, accepted HEIGHT,WIDTH in pixels, or one number for both")
    return int(sides[0]), int(sides[-1])


def positive(text: str) -> float:
    """A number above 0, also as a fraction such as `1/255` (an argparse type)."""
    try:
        value = float(Fraction(text))
    except (ValueError, ZeroDivisionError):
        value = 0.0
    if not value > 0:
        raise argparse.ArgumentTypeError(f"found {text!r}, accepted a number above 0 such as 1, 1/255 or 0.0039")
    return value


def triple(text: str) -> tuple[float, float, float]:
    """One number for each channel, or one for all three (an argparse type).

    >>> triple("0.5")
    (0.5, 0.5, 0.5)
    """
    try:
        values = [float(Fraction(part.strip())) for part in text.split(",")]
    except (ValueError, ZeroDivisionError):
        values = []
    if len(values) not in (1, 3):
        raise argparse.ArgumentTypeError(f"found {text!r}, accepted three numbers such as 0.485,0.456,0.406, or one")
    return values[0], values[-1 if len(values) == 1 else 1], values[-1]


def whole_numbers(text: str) -> tuple[int, ...]:
    """Numbers and ranges (an argparse type).

    >>> whole_numbers("1-3,5")
    (1, 2, 3, 5)
    """
    numbers: list[int] = []
    for part in text.split(","):
        first, dash, last = (word.strip() for word in part.partition("-"))
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise argparse.ArgumentTypeError(f"found {part!r}, accepted whole numbers and ranges such as 1-11,13-25")
        numbers += range(int(first), int(last or first) + 1)
    return tuple(numbers)


def names(text: str) -> tuple[str, ...]:
    """Names in a comma list (an argparse type)."""
    return tuple(part.strip() for part in text.split(","))


def read_labels(text: str) -> tuple[str, ...]:
    """Class names in the order of the network's scores.

    Args:
        text: a comma list; or a file with one name a line; or a COCO annotation file (`.json`), whose categories are taken
            in the order of their ids.

    Raises:
        ConfigError: the file is missing or unreadable, or a name is empty or stands there twice.
    """
    path = Path(text)
    is_file = path.suffix.lower() in LABEL_FILE_SUFFIXES or path.is_file()
    found = _labels_of_file(path) if is_file else names(text)
    problems = label_problems(found)
    if problems:
        raise ConfigError(f"--labels {text}: {'; '.join(problems)}")
    return found


def _labels_of_file(path: Path) -> tuple[str, ...]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no UTF-8 text"
        raise ConfigError(
            f"--labels {path}: cannot be read ({reason}); give a text file with one name a line, a COCO annotation file "
            "(.json), or the names themselves: cat,dog"
        ) from None
    if path.suffix.lower() == ".json":
        return _labels_of_coco(path, text)
    return tuple(line.strip() for line in text.rstrip().splitlines())


def _labels_of_coco(path: Path, text: str) -> tuple[str, ...]:
    try:
        categories: Any = json.loads(text)["categories"]
        return tuple(str(entry["name"]) for entry in sorted(categories, key=lambda entry: int(entry["id"])))
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"--labels {path}: no COCO annotation file ({type(error).__name__}: {error}); expected an object with "
            "`categories`, each with `id` and `name`"
        ) from None
