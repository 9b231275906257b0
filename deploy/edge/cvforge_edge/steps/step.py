"""What a step after the network can do."""

from __future__ import annotations

from typing import Protocol

from cvforge_edge.frame import Result


class Step(Protocol):
    """Changes results of one source; called in the order of its frames, by one thread."""

    def apply(self, result: Result) -> Result:
        """The result that the next step and the sinks see; the given one stays as it is."""
