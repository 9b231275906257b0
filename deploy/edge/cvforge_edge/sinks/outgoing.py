"""What leaves for a network: results and events as numbered JSON messages, each kind in a queue of its own on disk.

A message is the object of a line of JSON Lines (results), or the fields of an event, and two keys more: `run`, which is
another one at every start of the program, and `seq`, which counts the messages of that kind in the run from 1. A message
may arrive twice: it has the `run` and a `seq` that a receiver has seen. A gap in `seq` is a message that was dropped.
"""

from __future__ import annotations

import base64
import json
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2

from cvforge_edge.frame import Result
from cvforge_edge.records import dataclass
from cvforge_edge.sinks.content import Content
from cvforge_edge.sinks.disk_queue import DiskQueue
from cvforge_edge.sinks.jsonl import json_record, not_finite
from cvforge_edge.sinks.throttle import Throttle
from cvforge_edge.status import Gauge

EVENTS, RESULTS = "events", "results"
JPEG_QUALITY = 80
PICTURE_KEY = "picture_jpeg_base64"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class OutgoingSpec:
    """What is sent, and what may wait.

    Attributes:
        content: results, events or both.
        results_per_s: of each source, at most so many results a second are sent; None sends all. Events always are.
        folder: of the queues.
        limit_bytes: of each queue on the disk.
        picture: whether an event brings its annotated picture along.
    """

    content: Content
    folder: Path
    limit_bytes: int
    results_per_s: float | None = None
    picture: bool = False


@dataclass(frozen=True)
class Message:
    """One message on its way.

    Attributes:
        kind: `events` or `results`.
        number: in the queue of its kind.
        body: JSON, UTF-8.
    """

    kind: str
    number: int
    body: bytes


class Outgoing:
    """Takes results on one thread and gives messages to the thread that sends them, events first.

    Args:
        spec: what is sent.
        on_news: called after each message that was put in.

    Raises:
        StorageError: there is no room for the queues.
        UsageError: another process uses them.
    """

    def __init__(self, spec: OutgoingSpec, *, on_news: Callable[[], None]) -> None:
        self._spec, self._on_news = spec, on_news
        self._run = f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{os.urandom(4).hex()}"
        self._throttle = Throttle(spec.results_per_s)
        # Both kinds, whatever is wanted now: an earlier run may have left some of the other.
        self._queues = {kind: DiskQueue(spec.folder / kind, limit_bytes=spec.limit_bytes) for kind in (EVENTS, RESULTS)}
        self._seq = dict.fromkeys(self._queues, 0)
        self.sent = self.refused = 0
        if self.waiting:
            logger.info("%s: %d messages of an earlier run wait to be sent", spec.folder, self.waiting)

    def put(self, result: Result) -> None:
        """Take what is to be sent of a result; waits neither for the network nor for the disk's surface.

        Raises:
            BackendError: the prediction or an event holds NaN or infinity.
        """
        if self._spec.content.has_events and result.events:
            picture = {PICTURE_KEY: _jpeg_base64(result)} if self._spec.picture else {}
            for event in result.events:
                self._append(EVENTS, {**event.to_value(), **picture}, result)
        if self._spec.content.has_results and self._throttle.passes(result):
            self._append(RESULTS, json_record(result), result)

    def read(self) -> Message | None:
        """The next message; None when there is none."""
        for kind, queue in self._queues.items():
            record = queue.read()
            if record is not None:
                return Message(kind, record.number, record.body)
        return None

    def rewind(self) -> None:
        """Read again what was read and is neither delivered nor refused."""
        for queue in self._queues.values():
            queue.rewind()

    def delivered(self, message: Message) -> None:
        """The receiver has it."""
        self._queues[message.kind].acknowledge(message.number)
        self.sent += 1

    def refuse(self, message: Message) -> None:
        """The receiver will never take it."""
        self._queues[message.kind].acknowledge(message.number)
        self.refused += 1

    def close(self) -> None:
        """Keep what waits for the next start; may be called twice."""
        for queue in self._queues.values():
            queue.close()

    @property
    def waiting(self) -> int:
        """Messages that are neither delivered nor refused."""
        return sum(queue.waiting for queue in self._queues.values())

    def summary(self) -> str:
        """What became of the messages."""
        queues = self._queues.values()
        dropped = sum(queue.dropped for queue in queues)
        in_memory = sum(queue.only_in_memory for queue in queues)
        where = f" ({in_memory} of them only in memory: the disk takes no more)" if in_memory else ""
        return f"{self.sent} sent, {self.waiting} waiting{where}, {dropped} dropped, {self.refused} refused"

    def gauges(self, output: str) -> tuple[Gauge, ...]:
        """Likewise, as numbers.

        Args:
            output: what the numbers are labelled with.
        """
        labels = (("output", output),)
        dropped = sum(queue.dropped for queue in self._queues.values())
        return (
            Gauge("cvforge_messages_waiting", "Messages that wait to be sent.", self.waiting, labels),
            Gauge("cvforge_messages_sent_total", "Messages that a receiver took.", self.sent, labels, counts=True),
            Gauge(
                "cvforge_messages_dropped_total", "The oldest, where a queue was full.", dropped, labels, counts=True
            ),
            Gauge(
                "cvforge_messages_refused_total", "Messages that a receiver refused.", self.refused, labels, counts=True
            ),
        )

    def _append(self, kind: str, value: dict[str, Any], result: Result) -> None:
        self._seq[kind] += 1
        numbered = {"run": self._run, "seq": self._seq[kind], **value}
        try:
            text = json.dumps(numbered, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        except ValueError as error:
            raise not_finite(result) from error
        self._queues[kind].append(text.encode("utf-8"))
        self._on_news()


def _jpeg_base64(result: Result) -> str | None:
    done, data = cv2.imencode(".jpg", result.annotated_bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return base64.b64encode(data.tobytes()).decode("ascii") if done else None
