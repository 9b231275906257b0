"""What of a result goes to an output: the result itself, the events in it, or both."""

from __future__ import annotations

from enum import Enum


class Content(str, Enum):
    """A choice of the user."""

    RESULTS = "results"
    EVENTS = "events"
    BOTH = "both"

    @property
    def has_results(self) -> bool:
        """Whether what the model says about each picture is wanted."""
        return self is not Content.EVENTS

    @property
    def has_events(self) -> bool:
        """Whether what rules found is wanted."""
        return self is not Content.RESULTS
