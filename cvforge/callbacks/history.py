"""The numbers of a run as a CSV file that survives crashes and goes on after a resume."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from cvforge.history import read_history

FIRST_COLUMNS = ("epoch", "step")


class CsvHistory(Logger):
    """A row for each time something is logged; each row is on disk at once.

    Args:
        path: the file; rows that are there already are kept.
        first_step: the optimiser step that training goes on from; rows of this step and later ones are dropped, since
            a resumed run takes these steps again.
    """

    def __init__(self, path: Path, *, first_step: int = 0) -> None:
        super().__init__()
        self.path = path
        kept = [row for row in read_history(path) if row["step"] < first_step]
        self._columns = list(FIRST_COLUMNS)
        self._columns += sorted({name for row in kept for name in row} - set(FIRST_COLUMNS))
        if kept or path.exists():
            self._rewrite(kept)

    @property
    def name(self) -> str:
        """Fixed: Lightning asks."""
        return "history"

    @property
    def version(self) -> str:
        """Fixed: Lightning asks."""
        return ""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Append one row; a name that was not seen before becomes a column."""
        row = {**metrics, "step": step, "epoch": int(metrics.get("epoch", 0))}
        new = sorted(set(row) - set(self._columns))
        if new:
            rows = read_history(self.path)
            self._columns += new
            self._rewrite(rows)
        with self.path.open("a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, self._columns).writerow(row)

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Nothing: the run folder has its config."""

    @rank_zero_only
    def _rewrite(self, rows: list[dict[str, float]]) -> None:
        temporary = self.path.with_suffix(".csv.tmp")
        with temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self._columns)
            writer.writeheader()
            writer.writerows({**row, "epoch": int(row["epoch"]), "step": int(row["step"])} for row in rows)
        temporary.replace(self.path)
