"""What every comparison of an exported file's answers with the checkpoint's can say about itself, whatever the task."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol


class Agreement(Protocol):
    """How far a file's answers are those of its checkpoint, over the images of the verdict."""

    COLUMNS: ClassVar[tuple[str, ...]]
    """Heads of a table's columns, one for each of `cells`."""
    MEANING: ClassVar[str]
    """What the columns mean, one or two sentences."""

    @property
    def images(self) -> int:
        """How many were compared."""

    def cells(self) -> tuple[str, ...]:
        """The numbers as texts for one row of a table."""

    def summary(self) -> str:
        """What changed, in one line."""

    def hint(self) -> str | None:
        """Where to look when the change is too large; None where the numbers alone do not say it."""

    def to_value(self) -> dict[str, Any]:
        """Plain values for JSON; undefined ones are left out."""


class AgreementCounter(Protocol):
    """Takes in one image after the other."""

    def add(self, expected: Any, found: Any) -> None:
        """Take in what the checkpoint and the file say about one image."""

    def agreement(self) -> Agreement:
        """Of all images taken in, at least one."""


@dataclass(frozen=True)
class Confusion:
    """The change of class that is seen most often.

    Attributes:
        expected: label that the checkpoint gives.
        found: label that the file gives instead.
        count: how often, in boxes, images or pixels.
    """

    expected: str
    found: str
    count: int

    def __str__(self) -> str:
        return f"most often {self.expected!r} became {self.found!r} ({self.count} times)"


def most_frequent(changes: Counter[tuple[int, int]], labels: Sequence[str]) -> Confusion | None:
    """The most frequent of (expected, found) class ids, of equal ones the first by id; None where nothing changed."""
    if not changes:
        return None
    (expected, found), count = min(changes.items(), key=lambda item: (-item[1], item[0]))
    return Confusion(labels[expected], labels[found], int(count))


def share(part: float, whole: float) -> float | None:
    """`part` of `whole`; None of nothing."""
    return part / whole if whole else None


def share_text(value: float) -> str:
    """A share in percent, rounded down, so that only all is 100 %.

    >>> share_text(0.999999)
    '99.99 %'
    """
    return f"{math.floor(value * 1e4) / 1e2:.2f} %"


def rounded(values: dict[str, float | int | None]) -> dict[str, Any]:
    """Values for JSON: six digits behind the point are more than one image can move, and undefined ones are left out."""
    return {
        name: round(value, 6) if isinstance(value, float) else value
        for name, value in values.items()
        if value is not None
    }
