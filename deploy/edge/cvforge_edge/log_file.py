"""Where a command's log goes: to standard error, or to a file that never grows without bounds."""

from __future__ import annotations

import logging
from pathlib import Path

from cvforge_edge.errors import StorageError

MAX_BYTES = 1_000_000
OLD_FILES = 3
"""Kept as NAME.1 (the newest) to NAME.3."""


def set_up_logging(*, quiet: bool, path: str | None) -> None:
    """Log to standard error, or with times to a file: 1 MB, and three older ones beside it.

    Args:
        quiet: warnings and errors only.
        path: the file; None for standard error.

    Raises:
        StorageError: the file cannot be opened.
    """
    level = logging.WARNING if quiet else logging.INFO
    if path is None:
        logging.basicConfig(level=level, format="%(levelname)s %(message)s")
        return
    from logging.handlers import RotatingFileHandler

    try:
        handler = RotatingFileHandler(Path(path), maxBytes=MAX_BYTES, backupCount=OLD_FILES, encoding="utf-8")
    except OSError as error:
        raise StorageError(
            f"--log {path}: cannot be opened ({error.strerror}); name a file in a folder that exists"
        ) from None
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(message)s", handlers=[handler])
