"""What options of commands accept: each function takes the text of one and says what is wrong with it."""

from __future__ import annotations

import argparse
import math
import sys

from cvforge_edge.watchdog import NAMES

MIN_LIMIT = 0.1


def count(text: str) -> int:
    """A whole number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"found {text!r}, accepted whole numbers of at least 1")
    return int(text)


def fraction(text: str) -> float:
    """A number from 0 to 1."""
    return _number(text, 0.0, 1.0, accepted="numbers from 0 to 1")


def seconds(text: str) -> float:
    """Seconds, at least 0; `inf` is for ever."""
    return _number(text, 0.0, math.inf, accepted="seconds, at least 0")


def positive(text: str) -> float:
    """A number above 0."""
    return _number(text, math.nextafter(0.0, 1.0), sys.float_info.max, accepted="numbers above 0")


def limit(text: str) -> tuple[str, float]:
    """A named limit of the watchdog, as in memory=500."""
    name, _, value = text.partition("=")
    if name not in NAMES:
        raise argparse.ArgumentTypeError(f"found {text!r}, accepted NAME=VALUE with NAME one of {', '.join(NAMES)}")
    return name, _number(value, MIN_LIMIT, math.inf, accepted=f"a number of at least {MIN_LIMIT:g} for {name}")


def _number(text: str, low: float, high: float, *, accepted: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not low <= value <= high:
        raise argparse.ArgumentTypeError(f"found {text!r}, accepted {accepted}")
    return value
