"""Keeps Lightning's advice that does not apply to us off the screen, and copies our own log into the run's folder."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cvforge.errors import StorageError

ADVICE = (
    r"The '\w+' does not have many workers",  # the data module chose them, for this machine
    r"The number of training batches \(\d+\) is smaller than the logging interval",  # the epoch's end is logged anyway
    r"Found \d+ module\(s\) in eval mode",  # the moving average and frozen layers are so on purpose
    r"`isinstance\(treespec, LeafSpec\)` is deprecated",  # inside Lightning, nothing a user can change
    r"You are trying to `self.log\(\)` but the loop's result collection",  # tasks are also scored outside a run
)


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Hide Lightning's messages below a warning, and those warnings that `ADVICE` explains."""
    loggers = [logging.getLogger(name) for name in ("pytorch_lightning", "lightning_fabric", "lightning")]
    levels = [log.level for log in loggers]
    for log in loggers:
        log.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            for message in ADVICE:
                warnings.filterwarnings("ignore", message=message)
            yield
    finally:
        for log, level in zip(loggers, levels, strict=True):
            log.setLevel(level)


@contextmanager
def log_file(path: Path) -> Iterator[None]:
    """Append the log of CVForge to a file, with the time of each line.

    Raises:
        StorageError: the file cannot be opened.
    """
    log = logging.getLogger("cvforge")
    try:
        handler = logging.FileHandler(path, encoding="utf-8")
    except OSError as error:
        raise StorageError(f"{path}: cannot be written ({error}); choose another folder with run.dir") from error
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    level = log.level
    log.setLevel(min(level or logging.INFO, logging.INFO))
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
        handler.close()
