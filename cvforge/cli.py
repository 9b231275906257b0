"""The frame around every command: its log on the terminal, and errors as one message and an exit code."""

from __future__ import annotations

import errno
import logging
import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TextIO

from cvforge.errors import CVForgeError, StorageError
from cvforge_edge.errors import EdgeError

if TYPE_CHECKING:
    _StreamHandler = logging.StreamHandler[TextIO]
else:
    _StreamHandler = logging.StreamHandler  # takes no type before Python 3.11

INTERRUPTED = 130
DEBUG_VARIABLE = "CVFORGE_DEBUG"
_STORAGE_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def run_command(main: Callable[[Sequence[str] | None], int | None], argv: Sequence[str] | None = None) -> int:
    """Run a command and turn what it raises into an exit code.

    Errors of CVForge are printed to stderr without a traceback; CVFORGE_DEBUG=1 shows it. Everything else is a bug and
    keeps its traceback.

    Args:
        main: takes the arguments without the program's name (None: those of the process) and returns an exit code, or
            None for 0.
        argv: handed to `main`.
    """
    set_up_log()
    try:
        return main(argv) or 0
    except (CVForgeError, EdgeError) as error:
        return _report(error, error.exit_code)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)  # noqa: T201
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output (head, less) has gone: nobody is left to tell
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if error.errno not in _STORAGE_ERRORS:
            raise
        text = f"cannot write {error.filename or 'to disk'}: {error.strerror}; free space or choose another folder"
        return _report(StorageError(text), StorageError.exit_code)


def set_up_log(level: int = logging.INFO) -> None:
    """Show the log of CVForge on stderr, one plain line a message; called twice it changes nothing."""
    log = logging.getLogger("cvforge")
    if any(isinstance(handler, _TerminalHandler) for handler in log.handlers):
        return
    handler = _TerminalHandler()
    handler.setFormatter(_Formatter())
    log.addHandler(handler)
    log.setLevel(level)


class _TerminalHandler(_StreamHandler):
    """Writes to what sys.stderr is at that moment: progress bars replace it while they draw."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:
        return sys.stderr

    @stream.setter
    def stream(self, value: TextIO) -> None:
        raise AttributeError("the stream is sys.stderr")


class _Formatter(logging.Formatter):
    """The bare message; a warning or an error says so first."""

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        return text if record.levelno < logging.WARNING else f"{record.levelname.lower()}: {text}"


def _report(error: Exception, exit_code: int) -> int:
    if os.environ.get(DEBUG_VARIABLE):
        logging.getLogger(__name__).exception("traceback, because %s is set", DEBUG_VARIABLE)
    print(f"error: {error}", file=sys.stderr)  # noqa: T201
    return exit_code
