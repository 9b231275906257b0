"""Predictions of parallel sessions, brought back into the order of the frames of each source."""

from __future__ import annotations

import threading
from collections import deque

from cvforge_edge.inbox import Ticket
from cvforge_edge.types import Prediction


class Outbox:
    """Takes predictions in any order and gives those of each source in the order of their tickets."""

    def __init__(self) -> None:
        self._news = threading.Condition()
        self._waiting: dict[tuple[int, int], tuple[Ticket, Prediction]] = {}
        self._next_number: dict[int, int] = {}
        self._ready: deque[tuple[Ticket, Prediction]] = deque()
        self._failure: BaseException | None = None

    def put(self, ticket: Ticket, prediction: Prediction) -> None:
        """Take the prediction for a ticket."""
        with self._news:
            self._waiting[ticket.source, ticket.number] = (ticket, prediction)
            number = self._next_number.get(ticket.source, 0)
            while (ticket.source, number) in self._waiting:
                self._ready.append(self._waiting.pop((ticket.source, number)))
                number += 1
            self._next_number[ticket.source] = number
            self._news.notify()

    def fail(self, error: BaseException) -> None:
        """End with an error; `get` raises it at once, since later predictions could never be in order."""
        with self._news:
            self._failure = self._failure or error
            self._news.notify()

    def wake(self) -> None:
        """Let a waiting `get` look again."""
        with self._news:
            self._news.notify()

    def get(self, *, timeout_s: float) -> tuple[Ticket, Prediction] | None:
        """The next prediction in order, or None when none came in time.

        Raises:
            BaseException: what `fail` was given.
        """
        with self._news:
            if not self._ready and self._failure is None:
                self._news.wait(timeout_s)
            if self._failure is not None:
                raise self._failure
            return self._ready.popleft() if self._ready else None
