"""Events, or results, for a web server: one POST each, in order, tried again until the server takes or refuses it.

The body is a message as in `outgoing`; the header `X-CVForge-Kind` says `events` or `results`, and `Idempotency-Key` is the
same whenever a message is sent again.
"""

from __future__ import annotations

import logging
import threading
import time

from cvforge_edge.backoff import Backoff
from cvforge_edge.frame import Result
from cvforge_edge.sinks.outgoing import Message, Outgoing, OutgoingSpec
from cvforge_edge.sinks.sink import HURRY_S
from cvforge_edge.sinks.webhook_request import Answer, WebhookRequest
from cvforge_edge.sinks.webhook_settings import WebhookSettings
from cvforge_edge.status import Gauge

FIRST_RETRY_S, LONGEST_RETRY_S = 1.0, 60.0
CLOSE_WITHIN_S = 1.2
ABORT_WITHIN_S, DISK_WITHIN_S = 0.1, 0.1
"""At the end, what of the time is for a request that must be broken off, and for the disk, where messages stay that could
not be sent."""

logger = logging.getLogger(__name__)


class Webhook:
    """Sends on a thread of its own, from a queue on disk."""

    def __init__(self, settings: WebhookSettings, spec: OutgoingSpec) -> None:
        """Begin to send what waits.

        Args:
            settings: the server.
            spec: what is sent, and where it waits.

        Raises:
            StorageError: there is no room for the queue.
            UsageError: another process uses the same queue.
        """
        self._settings = settings
        self._news, self._stop = threading.Event(), threading.Event()
        self._closed = False
        self._retries = 0
        self._state = "no answer yet"
        self._close_by_s: float | None = None
        self._request: WebhookRequest | None = None
        self._outgoing = Outgoing(spec, on_news=self._news.set)
        self._thread = threading.Thread(target=self._run, name="webhook", daemon=True)
        self._thread.start()

    def write(self, result: Result) -> None:
        """Take one result; returns at once.

        Raises:
            BackendError: the prediction or an event holds NaN or infinity.
        """
        if not self._closed:
            self._outgoing.put(result)

    def close(self) -> None:
        """Send what goes out within about a second, and keep the rest for the next start; may be called twice."""
        if self._closed:
            return
        self._closed = True
        close_by_s = self._end_within(CLOSE_WITHIN_S)
        self._thread.join(max(0.0, close_by_s - ABORT_WITHIN_S - DISK_WITHIN_S - time.monotonic()))
        request = self._request
        if request is not None:
            request.abort()
        self._thread.join(max(0.0, close_by_s - DISK_WITHIN_S - time.monotonic()))
        self._outgoing.close()
        self._state = f"{self._state}; closed"

    def hurry(self) -> None:
        """Begin to end: see `Unhurried`."""
        self._end_within(HURRY_S)

    def summary(self) -> str:
        """Where the messages go, and what became of them."""
        return f"{self._settings.name}: {self._outgoing.summary()}, {self._retries} tried again; {self._state}"

    def gauges(self) -> tuple[Gauge, ...]:
        """What became of the messages, for graphs."""
        return self._outgoing.gauges(self._settings.name)

    def _end_within(self, seconds: float) -> float:
        """Let the thread come to its end, the first time; until when."""
        if self._close_by_s is None:
            self._close_by_s = time.monotonic() + seconds
            self._stop.set()
            self._news.set()
        return self._close_by_s

    def _is_too_late(self) -> bool:
        """Whether nothing more is to be sent."""
        close_by_s = self._close_by_s
        return close_by_s is not None and time.monotonic() >= close_by_s - ABORT_WITHIN_S - DISK_WITHIN_S

    def _run(self) -> None:
        while True:
            try:
                self._send_all()
                return
            except Exception:  # a mistake of ours: messages wait on disk, and sending goes on
                self._state = "unexpected error, see the log; trying again"
                logger.exception("%s: %s", self._settings.name, self._state)
            if self._stop.wait(LONGEST_RETRY_S):
                return

    def _send_all(self) -> None:
        self._outgoing.rewind()
        backoff = Backoff(first_s=FIRST_RETRY_S, longest_s=LONGEST_RETRY_S)
        while not self._is_too_late():
            self._news.clear()
            message = self._outgoing.read()
            if message is None:
                if self._stop.is_set():
                    return
                self._news.wait()
                continue
            answer = self._send(message)
            if answer.taken:
                self._note("ok")
                self._outgoing.delivered(message)
                backoff.reset()
            elif answer.final:
                self._give_up(message, answer)
                backoff.reset()
            else:
                self._note(answer.reason)
                self._outgoing.rewind()
                self._retries += 1
                if self._stop.wait(max(backoff.next_s(), answer.retry_after_s or 0.0)):
                    return

    def _send(self, message: Message) -> Answer:
        self._request = WebhookRequest(self._settings)
        try:
            return self._request.send(message.kind, message.body)
        finally:
            self._request = None

    def _note(self, state: str) -> None:
        if state != "ok" and state != self._state:
            logger.warning("%s: %s; trying again, messages wait on disk", self._settings.name, state)
        elif state == "ok" and self._retries and self._state != "ok":
            logger.info("%s: takes messages again", self._settings.name)
        self._state = state

    def _give_up(self, message: Message, answer: Answer) -> None:
        if answer.reason != self._state:
            logger.error(
                "%s: refuses a message of %d bytes (%s) with %s; it is dropped and counted, as will be others like it",
                self._settings.name,
                len(message.body),
                message.kind,
                answer.reason,
            )
        self._state = answer.reason
        self._outgoing.refuse(message)
