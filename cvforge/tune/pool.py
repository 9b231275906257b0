"""The processes of one call: started, watched, replaced when they are killed, stopped together."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cvforge.callbacks.interrupt import StopRequest
from cvforge.cli import INTERRUPTED
from cvforge.errors import StorageError, TuningError
from cvforge.tune.search import AGAIN, Search

POLL_S = 1.0
MOST_KILLED = 10
LOG_LINES = 12


@dataclass
class _Worker:
    """A process, and where it writes."""

    process: subprocess.Popen[bytes]
    log: Path


def run_workers(
    search: Search, *, workers: int, timeout_s: float | None, stop: StopRequest, watch: Callable[[], None]
) -> bool:
    """Work on the search with some processes until there are enough trials.

    Args:
        search: of which the study exists.
        workers: how many processes.
        timeout_s: after this time they are stopped as by Ctrl-C; None: never.
        stop: asked by the user.
        watch: called every second.

    Returns:
        Whether the time was up before the trials were done.

    Raises:
        TuningError: a process failed, or was killed again and again.
        StorageError: the disk is full.
    """
    deadline_s = time.monotonic() + timeout_s if timeout_s is not None else None
    pool = [_start(search, index) for index in range(workers)]
    killed, stopping, late = 0, False, False
    try:
        while pool:
            time.sleep(POLL_S)
            watch()
            late = late or (deadline_s is not None and time.monotonic() > deadline_s)
            if (stop.asked or late) and not stopping:
                stopping = True
                _ask_to_stop(pool)
            for index, worker in enumerate(list(pool)):
                code = worker.process.poll()
                if code is None:
                    continue
                pool.remove(worker)
                _close(worker)
                killed += code < 0
                if not stopping and _needs_another(code, worker, killed=killed):
                    pool.append(_start(search, index, log=worker.log))
    finally:
        _end(pool)
    return late


def _start(search: Search, index: int, *, log: Path | None = None) -> _Worker:
    path = log or search.path / "workers" / f"worker-{os.getpid()}-{index}.log"
    path.parent.mkdir(exist_ok=True)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
    with path.open("ab") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "cvforge.tune.worker", search.to_json()],
            stdin=subprocess.PIPE,  # its end tells the worker that we are gone
            stdout=file,
            stderr=file,
            env=environment,
            start_new_session=True,  # Ctrl-C comes to us alone, and we hand it on
        )
    return _Worker(process, path)


def _needs_another(code: int, worker: _Worker, *, killed: int) -> bool:
    """Whether a process that ended should be replaced.

    Raises:
        TuningError, StorageError: it failed in a way that another one would, too.
    """
    if code in (0, INTERRUPTED, TuningError.exit_code):  # the last: all first trials failed, as the study says
        return False
    if code == AGAIN or (code < 0 and killed <= MOST_KILLED):
        return True
    lines = worker.log.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_LINES:]
    what = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
    text = "\n".join([f"a process of the search {what}; see {worker.log}, which ends:", *(f"  | {x}" for x in lines)])
    raise StorageError(text) if code == StorageError.exit_code else TuningError(text)


def _ask_to_stop(pool: list[_Worker]) -> None:
    for worker in pool:
        worker.process.send_signal(signal.SIGTERM)


def _end(pool: list[_Worker]) -> None:
    """What is left when something went wrong, or the user pressed Ctrl-C twice, ends now; its trials can be resumed."""
    for worker in pool:
        worker.process.kill()
    for worker in pool:
        worker.process.wait()
        _close(worker)


def _close(worker: _Worker) -> None:
    if worker.process.stdin is not None:
        worker.process.stdin.close()
