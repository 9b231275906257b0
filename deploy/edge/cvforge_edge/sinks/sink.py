"""What every place for results offers, whether it is a file or a window."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from cvforge_edge.frame import Result

HURRY_S = 0.5
"""From `hurry` to the end of `close`, at most."""


class Sink(Protocol):
    """Takes results in the order of their frames."""

    def write(self, result: Result) -> None:
        """Take one result.

        Raises:
            StorageError: it cannot be stored, for instance because the disk is full.
        """

    def close(self) -> None:
        """Finish and release what was written; may be called twice.

        Raises:
            StorageError: what was written is not complete on the disk.
        """

    def summary(self) -> str:
        """One line for the user: where the results are, and how many."""


@runtime_checkable
class Unhurried(Protocol):
    """A sink whose end may take time. Before the first sink is closed all of these are asked, so that they end side by side."""

    def hurry(self) -> None:
        """Begin to end, since somebody wants the run to stop; `close` then returns within `HURRY_S` from now."""


@runtime_checkable
class Tended(Protocol):
    """A sink that has something to do also while nothing comes."""

    def tend(self) -> None:
        """Called a few times a second, between two writes.

        Raises:
            StorageError: what was written cannot be stored.
        """
