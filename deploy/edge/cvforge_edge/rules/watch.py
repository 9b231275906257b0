"""What watches the results of one source for a rule."""

from __future__ import annotations

from typing import Protocol

from cvforge_edge.events import Event
from cvforge_edge.frame import Result
from cvforge_edge.markings import Marking


class Watch(Protocol):
    """Keeps what one rule must remember from frame to frame."""

    def see(self, result: Result) -> list[Event]:
        """What has happened with this result."""

    def marking(self) -> Marking | None:
        """What to draw; None where there is nothing."""


def make_event(
    result: Result,
    rule: str,
    kind: str,
    *,
    label: str | None = None,
    track_id: int | None = None,
    value: float | None = None,
) -> Event:
    """An event at the time of a result."""
    frame = result.frame
    return Event(
        rule,
        kind,
        frame.source,
        frame.index,
        frame.time_s,
        frame.unix_time_s,
        label=label,
        track_id=track_id,
        value=value,
    )
