"""What a command of the device does around its work: errors without tracebacks, exit codes, signals."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from types import FrameType
from typing import NoReturn

from cvforge_edge.errors import EdgeError
from cvforge_edge.standard_error import is_terminal

INTERRUPTED = 130
JOIN_TIMEOUT_S = 0.2
TERMINAL_CLOSES_S = 0.2
"""Programs that show a terminal send SIGHUP a moment before they close it."""


def run_command(command: Callable[[], int]) -> int:
    """The exit code of a command; an `EdgeError` becomes its message on standard error and its own code.

    Anything else is a mistake of ours: it keeps its traceback, and Python ends with 1. Both are in the log file, too.
    """
    try:
        return command()
    except EdgeError as error:
        sys.stderr.write(f"error: {error}\n")
        _log_to_file(str(error))
        return error.exit_code
    except Exception as error:
        _log_to_file("unexpected error", error=error)
        raise
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return INTERRUPTED


def _log_to_file(message: str, *, error: BaseException | None = None) -> None:
    from cvforge_edge.log_file import log_to_file  # only where it is needed: the start is to be fast

    log_to_file(message, error=error)


def leave(code: int) -> NoReturn:
    """End the process with a code, also where a thread hangs in a camera's driver.

    Python would wait for nothing either, but a thread that comes back from the driver while Python is being taken down
    can end the process with a crash.
    """
    if threading.active_count() > 1:
        with contextlib.suppress(OSError):
            for stream in filter(None, (sys.stderr, sys.stdout)):  # None: closed when Python began
                stream.flush()
        os._exit(code)
    sys.exit(code)


@contextmanager
def _outside_of_handlers() -> Iterator[Callable[[Callable[[], None]], None]]:
    """Gives a function for signal handlers that has an action done on another thread.

    A handler interrupts the main thread anywhere, also while that holds the very lock that the action waits for.
    """
    actions: SimpleQueue[Callable[[], None] | None] = SimpleQueue()

    def work() -> None:
        while (action := actions.get()) is not None:
            action()

    thread = threading.Thread(target=work, name="signals", daemon=True)
    thread.start()
    try:
        yield actions.put
    finally:
        actions.put(None)
        thread.join(JOIN_TIMEOUT_S)


class _HeldHangup:
    """A handler that does nothing but remember.

    Attributes:
        came: whether the signal did.
        attended: whether standard error was a terminal at the start.
    """

    def __init__(self) -> None:
        self.came, self.attended = False, is_terminal()

    def __call__(self, _number: int, _frame: FrameType | None) -> None:
        self.came = True


def hold_hangup() -> None:
    """From now on SIGHUP does not end the process; one that comes is kept for `call_on_hangup`."""
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, _HeldHangup())


@contextmanager
def call_on_hangup(action: Callable[[], None], *, terminal_closed: Callable[[], None]) -> Iterator[None]:
    """While inside, SIGHUP calls an action on a thread of its own; systems without that signal never do.

    One that came earlier, and was held, calls it at the beginning.

    Args:
        action: for a signal that somebody sent.
        terminal_closed: for one that came since the terminal went away that was standard error at the start.
    """
    if not hasattr(signal, "SIGHUP"):
        yield
        return
    held = signal.getsignal(signal.SIGHUP)
    attended = held.attended if isinstance(held, _HeldHangup) else is_terminal()

    def act() -> None:
        if attended:
            time.sleep(TERMINAL_CLOSES_S)
        (terminal_closed if attended and not is_terminal() else action)()

    with _outside_of_handlers() as do:
        before = signal.signal(signal.SIGHUP, lambda _number, _frame: do(act))
        if isinstance(before, _HeldHangup) and before.came:
            before.came = False
            do(act)
        try:
            yield
        finally:
            signal.signal(signal.SIGHUP, before)


@contextmanager
def stop_on_signals(stop: threading.Event) -> Iterator[None]:
    """While inside, the first SIGINT or SIGTERM sets `stop`, and the second acts as it would have before."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    with _outside_of_handlers() as do:

        def request_stop(_number: int, _frame: FrameType | None) -> None:
            do(stop.set)
            restore()

        for number in before:
            signal.signal(number, request_stop)
        try:
            yield
        finally:
            restore()
