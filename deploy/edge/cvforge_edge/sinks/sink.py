"""What every place for results offers, whether it is a file or a window."""

from __future__ import annotations

from typing import Protocol

from cvforge_edge.frame import Result


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
