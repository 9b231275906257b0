"""The newest events for the page, and how many there were of each kind for the metrics, in bounded memory."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from typing import Any

from cvforge_edge.events import Event

KEPT_EVENTS = 500
MAX_EVENTS_OF_ANSWER = 200
MAX_KINDS = 500
"""Sorts of events that are counted apart; the rest is counted together."""
OTHER_KINDS = ("other", "other", "other")


class EventLog:
    """Numbers events from 1 in the order in which they came."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._events: deque[tuple[int, Event]] = deque(maxlen=KEPT_EVENTS)
        self._newest = 0
        self._counts: dict[tuple[str, str, str], int] = {}

    @property
    def newest(self) -> int:
        """Number of the newest event; 0 before the first."""
        with self._lock:
            return self._newest

    def add(self, events: Sequence[Event]) -> None:
        """Take events."""
        if not events:
            return
        with self._lock:
            for event in events:
                self._newest += 1
                self._events.append((self._newest, event))
                kind = (event.source, event.rule, event.kind)
                if kind not in self._counts and len(self._counts) >= MAX_KINDS:
                    kind = OTHER_KINDS
                self._counts[kind] = self._counts.get(kind, 0) + 1

    def counts(self) -> dict[tuple[str, str, str], int]:
        """How many events there were, by source, rule and kind."""
        with self._lock:
            return dict(self._counts)

    def since(self, number: int) -> dict[str, Any]:
        """The newest `MAX_EVENTS_OF_ANSWER` events after a number, the oldest first, and the number of the newest.

        An `events` that begins with a number above `number` + 1 says that those between are no longer kept.
        """
        with self._lock:
            chosen = [(n, event) for n, event in self._events if n > number][-MAX_EVENTS_OF_ANSWER:]
            newest = self._newest
        return {"newest": newest, "events": [{"number": n, **event.to_value()} for n, event in chosen]}
