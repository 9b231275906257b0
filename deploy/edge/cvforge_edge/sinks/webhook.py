"""Events, or results, for a web server: one POST each, in order, tried again until the server takes or refuses it.

The body is a message as in `outgoing`; the header `X-CVForge-Kind` says `events` or `results`, and `Idempotency-Key` is the
same whenever a message is sent again.
"""

from __future__ import annotations

import logging
import threading
from functools import partial

from cvforge_edge.backoff import Backoff
from cvforge_edge.frame import Result
from cvforge_edge.sinks.ending import Ending, keep_sending
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
        self._ending = Ending(self._begin_to_end)
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
        self._ending.within(CLOSE_WITHIN_S)
        self._thread.join(self._ending.left_s(kept_s=ABORT_WITHIN_S + DISK_WITHIN_S))
        request = self._request
        if request is not None:
            request.abort()
        self._thread.join(self._ending.left_s(kept_s=DISK_WITHIN_S))
        self._outgoing.close()
        self._state = f"{self._state}; closed"

    def hurry(self) -> None:
        """Begin to end: see `Unhurried`."""
        self._ending.within(HURRY_S)

    def summary(self) -> str:
        """Where the messages go, and what became of them."""
        return f"{self._settings.name}: {self._outgoing.summary()}, {self._retries} tried again; {self._state}"

    def gauges(self) -> tuple[Gauge, ...]:
        """What became of the messages, for graphs."""
        return self._outgoing.gauges(self._settings.name)

    def _begin_to_end(self) -> None:
        self._stop.set()
        self._news.set()

    def _run(self) -> None:
        set_state = partial(setattr, self, "_state")
        name = self._settings.name
        keep_sending(self._send_all, stop=self._stop, pause_s=LONGEST_RETRY_S, name=name, set_state=set_state)

    def _send_all(self) -> None:
        self._outgoing.rewind()
        backoff = Backoff(first_s=FIRST_RETRY_S, longest_s=LONGEST_RETRY_S)
        while self._ending.left_s(kept_s=ABORT_WITHIN_S + DISK_WITHIN_S) > 0:
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
                if self._stop.wait(max(backoff.next_s(), answer.retry_after_s or 0.0)):
                    return
                self._retries += 1

    def _send(self, message: Message) -> Answer:
        self._request = WebhookRequest(self._settings)
        try:
            return self._request.send(message.kind, message.body)
        finally:
            self._request = None

    def _note(self, state: str) -> None:
        if state != "ok" and state != self._state and not self._stop.is_set():
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
