"""Run folders: where a training run keeps its config, records, checkpoints and pictures."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from cvforge.errors import CheckpointError, RunExistsError, StorageError

CONFIG_NAME = "config.yaml"
CHECKPOINT_NAMES = ("best", "last")


@dataclass(frozen=True)
class Run:
    """The files of one run. A property names where a file belongs; it says nothing about whether it is there."""

    dir: Path

    @property
    def config(self) -> Path:
        """The resolved config."""
        return self.dir / CONFIG_NAME

    @property
    def best_checkpoint(self) -> Path:
        """The checkpoint of the best validation."""
        return self.dir / "checkpoints" / "best.ckpt"

    @property
    def last_checkpoint(self) -> Path:
        """The newest checkpoint, from which a run is resumed."""
        return self.dir / "checkpoints" / "last.ckpt"

    @property
    def data(self) -> Path:
        """Task, labels, sizes and fingerprints of the data sets."""
        return self.dir / "data.json"

    @property
    def environment(self) -> Path:
        """Versions, machine, git state and command line."""
        return self.dir / "environment.json"

    @property
    def metrics(self) -> Path:
        """The final scores."""
        return self.dir / "metrics.json"

    @property
    def history(self) -> Path:
        """Scores and losses step by step."""
        return self.dir / "metrics.csv"

    @property
    def curves(self) -> Path:
        """The history as a picture."""
        return self.dir / "curves.png"

    @property
    def predictions(self) -> Path:
        """Some validation images with truth and prediction drawn."""
        return self.dir / "predictions.png"

    @property
    def report(self) -> Path:
        """The page with figures and pictures."""
        return self.dir / "report.html"

    @property
    def report_values(self) -> Path:
        """The numbers of that page."""
        return self.dir / "report.json"

    @property
    def log(self) -> Path:
        """What the run told its user."""
        return self.dir / "log.txt"

    @property
    def labels(self) -> tuple[str, ...]:
        """The class names that the run was trained on.

        Raises:
            CheckpointError: `data.json` is missing or damaged.
        """
        return tuple(self._data_record()["labels"])

    @property
    def task(self) -> str:
        """The task that the run was trained for.

        Raises:
            CheckpointError: `data.json` is missing or damaged.
        """
        return str(self._data_record()["task"])

    @property
    def fingerprints(self) -> dict[str, str]:
        """Fingerprints of the data that the run used, by split; empty where a run has not noted them.

        Raises:
            CheckpointError: `data.json` is missing or damaged.
        """
        return dict(self._data_record()["fingerprints"])

    @property
    def sizes(self) -> dict[str, int]:
        """Number of images of the data that the run used, by split; empty where a run has not noted them.

        Raises:
            CheckpointError: `data.json` is missing or damaged.
        """
        return dict(self._data_record()["sizes"])

    def checkpoint(self, which: str = "best") -> Path:
        """The path of the `best` or `last` checkpoint, which is there.

        Raises:
            CheckpointError: `which` is neither, or the run has no such checkpoint.
        """
        if which not in CHECKPOINT_NAMES:
            raise CheckpointError(
                f"{self.dir}: found checkpoint name {which!r}, accepted {', '.join(CHECKPOINT_NAMES)}"
            )
        path = self.best_checkpoint if which == "best" else self.last_checkpoint
        if not path.is_file():
            there = [name for name in CHECKPOINT_NAMES if (self.dir / "checkpoints" / f"{name}.ckpt").is_file()]
            none = "it was stopped before the first one was written, or a search has dropped it"
            advice = f"it has {', '.join(there)}" if there else none
            raise CheckpointError(f"{path}: the run has no such checkpoint; {advice}")
        return path

    def _data_record(self) -> dict[str, Any]:
        try:
            record = json.loads(self.data.read_text(encoding="utf-8"))
            found = {"labels": record["labels"], "task": record["task"]}
            return found | {name: dict(record.get(name, {})) for name in ("fingerprints", "sizes")}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CheckpointError(
                f"{self.data}: cannot be read ({error}); is {self.dir} a complete run folder?"
            ) from error


def default_run_dir(name: str, *, now: datetime, root: Path = Path("runs")) -> Path:
    """`runs/<name>-<date>-<time>`."""
    return root / f"{name}-{now:%Y%m%d-%H%M%S}"


def refuse_taken(folder: Path) -> None:
    """Check that a new run can go into a folder, before anything expensive is done for it.

    Raises:
        RunExistsError: there is something in the folder already.
        StorageError: the folder cannot be made.
    """
    nearest = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    if nearest.is_dir() and not os.access(nearest, os.W_OK):
        raise StorageError(f"{folder}: {nearest} cannot be written; choose another folder with run.dir")
    if nearest != folder.absolute() and not nearest.is_dir():
        raise StorageError(f"{folder}: {nearest} is a file; choose another folder with run.dir")
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise RunExistsError(
            f"{folder}: holds a run or other files already, and nothing in it is overwritten; continue it with "
            f"--resume {folder}, or choose another folder with run.dir"
        )


def create_run(folder: Path) -> Run:
    """A new, empty run folder.

    Raises:
        RunExistsError: there is something in the folder already.
        StorageError: the folder cannot be made.
    """
    refuse_taken(folder)
    try:
        (folder / "checkpoints").mkdir(parents=True)
    except OSError as error:
        raise StorageError(f"{folder}: the run folder cannot be made ({error}); choose another with run.dir") from error
    return Run(folder)


def open_run(path: Path | str) -> Run:
    """The run whose folder, or a file of which, `path` is.

    Raises:
        CheckpointError: there is no run.
    """
    start = Path(path)
    for folder in (start, start.parent, start.parent.parent):
        if start.exists() and (folder / CONFIG_NAME).is_file():
            return Run(folder)
    found = "there is no such folder" if not start.exists() else f"it has no {CONFIG_NAME}"
    raise CheckpointError(
        f"{path}: not a run ({found}); give a folder that tools/train.py made, for instance runs/<name>-<date>-<time>"
    )
