"""Where a command's log goes: to standard error, or to a file that never grows without bounds."""

from __future__ import annotations

import logging
from pathlib import Path

from cvforge_edge.errors import StorageError
from cvforge_edge.events import EVENT_LEVEL

MAX_BYTES = 1_000_000
OLD_FILES = 3
"""Kept as NAME.1 (the newest) to NAME.3."""


def set_up_logging(*, quiet: bool, path: str | None) -> None:
    """Log to standard error, or with times to a file: 1 MB, and three older ones beside it.

    Args:
        quiet: to standard error events, warnings and errors only; a file takes everything.
        path: the file; None for standard error.

    Raises:
        StorageError: the file cannot be opened.
    """
    logging.addLevelName(EVENT_LEVEL, "EVENT")
    if path is None:
        logging.basicConfig(level=EVENT_LEVEL if quiet else logging.INFO, format="%(levelname)s %(message)s")
        return
    from logging.handlers import RotatingFileHandler

    try:
        handler = RotatingFileHandler(Path(path), maxBytes=MAX_BYTES, backupCount=OLD_FILES, encoding="utf-8")
    except OSError as error:
        raise StorageError(
            f"--log {path}: cannot be opened ({error.strerror}); name a file in a folder that exists"
        ) from None
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", handlers=[handler])


def log_to_file(message: str, *, error: BaseException | None = None) -> None:
    """The last word of a command, which is on standard error already, for the log file too, where there is one.

    Args:
        message: what happened.
        error: with its traceback; None for none.
    """
    trace = None if error is None else (type(error), error, error.__traceback__)
    record = logging.LogRecord("cvforge_edge", logging.CRITICAL, __file__, 0, message, None, trace)
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.FileHandler):
            handler.handle(record)
