"""Runs a module of ours in a process of its own: native libraries that crash each other, print, or keep memory."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence

from cvforge.errors import ExportError

LIMIT_S = 1800
LOG_LINES = 12


def run_worker(what: str, module: str, arguments: Sequence[str]) -> None:
    """Run `python -m module arguments` to its end, silently, with one thread and reproducible hashes.

    Args:
        what: named in errors.
        module: of `cvforge.export`.
        arguments: its command line.

    Raises:
        ExportError: it failed or took longer than `LIMIT_S`; the last lines of its log are in the message.
    """
    command = [sys.executable, "-m", module, *arguments]
    environment = worker_environment()
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise ExportError(f"{what}: took longer than {LIMIT_S} s and was stopped") from error
    if done.returncode != 0:
        log = (done.stdout + "\n" + done.stderr).strip().splitlines()
        tail = "\n".join(f"  | {line}" for line in log[-LOG_LINES:])
        raise ExportError(f"{what}: the process ended with code {done.returncode}; its last lines:\n{tail}")


def worker_environment() -> dict[str, str]:
    """The environment of a worker: it finds what we find, has one thread and reproducible hashes, and logs errors only."""
    # One thread: the work is serial, and idle OpenMP threads only take the processor from others.
    environment = {**os.environ, "PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "2"}
    environment["PYTHONPATH"] = os.pathsep.join(entry for entry in sys.path if entry)
    return environment
