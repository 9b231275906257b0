"""Writes each event as a line into the log."""

from __future__ import annotations

import logging

from cvforge_edge.events import EVENT_LEVEL, Event
from cvforge_edge.frame import Result

logger = logging.getLogger(__name__)


class EventLog:
    """Logs events; the result stays as it is."""

    def apply(self, result: Result) -> Result:
        """Log the events of one result."""
        for event in result.events:
            logger.log(EVENT_LEVEL, "%s", event_line(event))
        return result


def event_line(event: Event) -> str:
    """An event for a person, in one line."""
    parts = [f"{event.source} {event.time_s:.2f} s: {event.rule}: {event.kind}"]
    if event.label is not None:
        parts.append(event.label)
    if event.track_id is not None:
        parts.append(f"#{event.track_id}")
    if event.value is not None:
        parts.append(f"{event.value:+.0f}" if event.kind == "line_crossed" else f"{event.value:.2f}")
    return " ".join(parts)
