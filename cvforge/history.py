"""The numbers of a run as they were logged, read back from its CSV file."""

from __future__ import annotations

import csv
from pathlib import Path


def read_history(path: Path) -> list[dict[str, float]]:
    """The rows of a history file, each without its empty cells; none when there is no file."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        rows = [{name: float(cell) for name, cell in row.items() if name and cell} for row in csv.DictReader(file)]
    return [row for row in rows if "step" in row and "epoch" in row]  # a crash may have cut the last one
