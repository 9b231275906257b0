"""Who is at work: locks that the system gives back when a process ends, however it ends."""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LOCK = "study.lock"
# `lockf`, not `flock`: a loader process, which is a copy of the trial's process, must not keep the lock of a dead one.


@contextmanager
def study_lock(folder: Path) -> Iterator[None]:
    """Inside, no other process hands out, finishes or takes over trials of this study."""
    with (folder / LOCK).open("a") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        yield


@contextmanager
def worker_lock(folder: Path) -> Iterator[str]:
    """The name under which this process is known to be alive while inside."""
    (folder / "workers").mkdir(exist_ok=True)
    name = f"{os.getpid()}-{secrets.token_hex(3)}"
    path = _lock_file(folder, name)
    with path.open("w") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        try:
            yield name
        finally:
            path.unlink(missing_ok=True)


def is_alive(folder: Path, name: str) -> bool:
    """Whether the worker of this name runs; never ask for the own one: looking would give its lock back."""
    path = _lock_file(folder, name)
    try:
        with path.open("r+") as file:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    path.unlink(missing_ok=True)
    return False


def _lock_file(folder: Path, name: str) -> Path:
    return folder / "workers" / f"{name}.lock"
