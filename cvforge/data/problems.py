"""Collects everything that is wrong with a data set, so that it is reported once and completely."""

from __future__ import annotations

import logging

from cvforge.errors import DataError

SHOWN_PROBLEMS = 12
SHOWN_NOTES = 3

logger = logging.getLogger(__name__)


class Problems:
    """Problems found while a data set is read; `raise_any` turns them into one `DataError`.

    Args:
        subject: what is being read, for the first line of the message (`COCO data set data/coco`).
        advice: what to do next, the last line of the message.
    """

    def __init__(self, subject: str, *, advice: str) -> None:
        self.subject = subject
        self.advice = advice
        self.found: list[str] = []

    def add(self, problem: str) -> None:
        """Remember one problem: where it is, what was found, what is accepted."""
        self.found.append(problem)

    def raise_any(self) -> None:
        """Raise a `DataError` that lists the problems so far; do nothing when there are none."""
        if not self.found:
            return
        count = len(self.found)
        lines = [f"{self.subject}: {count} problem{'s' if count > 1 else ''}"]
        lines += [f"  {problem}" for problem in self.found[:SHOWN_PROBLEMS]]
        if count > SHOWN_PROBLEMS:
            lines.append(f"  ... and {count - SHOWN_PROBLEMS} more")
        lines.append(self.advice)
        raise DataError("\n".join(lines))


class Notes:
    """Harmless defects that were repaired in a defined way: counted, and summarised in one warning.

    Attributes:
        counts: how often each repair happened, by its name.
    """

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self._examples: dict[str, list[str]] = {}

    def add(self, repair: str, *, place: str) -> None:
        """Count one repair and keep its place while there are few."""
        self.counts[repair] = self.counts.get(repair, 0) + 1
        examples = self._examples.setdefault(repair, [])
        if len(examples) < SHOWN_NOTES:
            examples.append(place)

    def warn(self, subject: str) -> None:
        """Log one warning that sums up all repairs; nothing when there were none."""
        if not self.counts:
            return
        parts = []
        for repair, count in self.counts.items():
            shown = ", ".join(self._examples[repair])
            parts.append(f"{count} {repair} ({shown}{', ...' if count > SHOWN_NOTES else ''})")
        logger.warning("%s: %s", subject, "; ".join(parts))
