"""Results of parallel sessions, brought back into the order of the frames of each source."""

from __future__ import annotations

import threading
from collections import deque

from cvforge_edge.frame import Result
from cvforge_edge.inbox import Ticket


class Outbox:
    """Takes results in any order and gives those of each source in the order of their tickets."""

    def __init__(self) -> None:
        self._news = threading.Condition()
        self._waiting: dict[tuple[int, int], tuple[Ticket, Result] | None] = {}
        self._next_number: dict[int, int] = {}
        self._ready: deque[tuple[Ticket, Result]] = deque()
        self._failure: BaseException | None = None

    def put(self, ticket: Ticket, result: Result) -> None:
        """Take the result for a ticket."""
        with self._news:
            self._waiting[ticket.source, ticket.number] = (ticket, result)
            self._advance(ticket.source)
            self._news.notify()

    def skip(self, ticket: Ticket) -> None:
        """Wait no longer for the result of a ticket."""
        with self._news:
            self._waiting[ticket.source, ticket.number] = None
            self._advance(ticket.source)
            self._news.notify()

    def fail(self, error: BaseException) -> None:
        """End with an error; `get` raises it at once, since later results could never be in order."""
        with self._news:
            self._failure = self._failure or error
            self._news.notify()

    def wake(self) -> None:
        """Let a waiting `get` look again."""
        with self._news:
            self._news.notify()

    def get(self, *, timeout_s: float) -> tuple[Ticket, Result] | None:
        """The next result in order, or None when none came in time.

        Raises:
            BaseException: what `fail` was given.
        """
        with self._news:
            if not self._ready and self._failure is None:
                self._news.wait(timeout_s)
            if self._failure is not None:
                raise self._failure
            return self._ready.popleft() if self._ready else None

    def _advance(self, source: int) -> None:
        """Make ready what is next in order; the lock is held."""
        number = self._next_number.get(source, 0)
        while (source, number) in self._waiting:
            item = self._waiting.pop((source, number))
            if item is not None:
                self._ready.append(item)
            number += 1
        self._next_number[source] = number
