"""Sinks that have something to do also while no result comes, such as a window that must hear its keys."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from cvforge_edge.sinks.sink import Sink

TEND_EVERY_S = 0.2


@runtime_checkable
class Tended(Protocol):
    """A sink that wants to be looked after."""

    def tend(self) -> None:
        """Do what is due; called a few times a second on the thread that writes results, however few of them come.

        Raises:
            StorageError: what was taken earlier cannot be stored.
        """


class Tending:
    """Looks after those sinks that want it.

    Args:
        sinks: any.
    """

    def __init__(self, sinks: Sequence[Sink]) -> None:
        self._tended = [sink for sink in sinks if isinstance(sink, Tended)]
        self._due_s = time.monotonic() + TEND_EVERY_S

    def tend_if_due(self) -> None:
        """To be called at least as often as `TEND_EVERY_S`.

        Raises:
            StorageError: a sink cannot store what it took earlier.
        """
        now_s = time.monotonic()
        if now_s < self._due_s:
            return
        self._due_s = now_s + TEND_EVERY_S
        for sink in self._tended:
            sink.tend()
