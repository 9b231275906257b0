"""How an export says what it is doing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class Stages(Protocol):
    """Told what is going on, so that a user sees progress."""

    def __call__(self, title: str) -> Callable[[int, int], None]:
        """A new stage begins; the result is told how many of how many steps are done, or never called."""
