"""Standard error that may go away under a program: a closed terminal, or a reader that ends, is no reason to stop."""

from __future__ import annotations

import io
import os
import sys
from typing import Any

STANDARD_ERROR = 2


def keep_standard_error() -> None:
    """From now on writing to standard error never fails; what nobody can read is lost.

    Where it was closed from the beginning it becomes the null device: otherwise the next file that is opened would be
    where libraries write their messages.
    """
    if sys.stderr is None:
        _fill_its_place()
    encoding, errors = ("utf-8", "backslashreplace") if sys.stderr is None else (sys.stderr.encoding, sys.stderr.errors)
    raw = io.BufferedWriter(_Unfailing(STANDARD_ERROR, "wb", closefd=False))
    sys.stderr = io.TextIOWrapper(raw, encoding=encoding, errors=errors, line_buffering=True)


def is_terminal() -> bool:
    """Whether standard error is a terminal that is still there: one that was closed is none any more."""
    return os.isatty(STANDARD_ERROR)


class _Unfailing(io.FileIO):
    """Says that everything was written."""

    def write(self, data: Any) -> int:
        try:
            written = super().write(data)
        except OSError:
            written = None
        return memoryview(data).nbytes if written is None else written


def _fill_its_place() -> None:
    try:
        os.fstat(STANDARD_ERROR)
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        if nowhere != STANDARD_ERROR:
            os.dup2(nowhere, STANDARD_ERROR)
            os.close(nowhere)
