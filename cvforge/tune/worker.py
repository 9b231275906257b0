"""A process of a search: takes trials until there are enough. `tools/tune.py` starts it: `python -m cvforge.tune.worker`."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Sequence
from types import FrameType

from cvforge.cli import run_command
from cvforge.tune.locks import worker_lock
from cvforge.tune.search import AGAIN, Search, search_from_json
from cvforge.tune.study import claim, open_study
from cvforge.tune.trial import run_trial


def main(_: Sequence[str] | None = None) -> int:
    """Work on the search that the one argument describes, until nothing is left or standard input is closed."""
    signal.signal(signal.SIGTERM, _interrupt)
    search = search_from_json(sys.argv[1])
    threading.Thread(target=_stop_when_left_alone, daemon=True).start()
    with worker_lock(search.path) as name:
        return _work(search, name)


def _work(search: Search, name: str) -> int:
    study = open_study(search)
    while (trial := claim(study, search, worker=name)) is not None:
        if run_trial(study, trial, search).fresh:
            return AGAIN
    return 0


def _stop_when_left_alone() -> None:
    """The search's own process holds the other end: when that is gone, however it went, this one stops as by Ctrl-C."""
    while os.read(sys.stdin.fileno(), 1):  # not `sys.stdin.read()`: its lock would be held when the process ends
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Between trainings, which listen themselves."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    raise SystemExit(run_command(main))
