"""The log for machines: each line is one JSON object, and what is about a request carries its id.

```
{"time": "2026-11-23T14:05:01.123Z", "level": "info", "event": "request", "model": "det_bccd", "worker": "9000",
 "request_id": "...", "version": 1, "status": 200, "images": 2, "codes": ["ok", "damaged_image"], "objects": 12,
 "bytes_in": 48213, "bytes_out": 2219, "decode_ms": 2.9, "network_ms": 9.8, "finish_ms": 0.4}
{"time": "...", "level": "error", "event": "message", "model": "det_bccd", "worker": "9000", "request_id": "...",
 "logger": "cvforge_server.item", "message": "an image cannot be read", "exception": "Traceback ..."}
```
Never in it: tokens and other headers, options, names and content of images, and what a client was told of a mistake of its own.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from cvforge_server.reply import Reply

REQUEST_ID_HEADER = "X-Request-Id"
REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
LOGGERS = ("cvforge_server", "cvforge_edge")
MESSAGE = "message"
"""Event of a line that is a sentence for people; those of other events have fields only."""
REFUSED = "refused"
"""Event of a worker that gives up for a `reason` that trying again does not mend."""
DECIMALS = 3

_request_ids: ContextVar[tuple[str, ...]] = ContextVar("request_ids", default=())
_log = logging.getLogger(__name__)


def request_id_from(headers: Mapping[str, Any]) -> str | None:
    """The id that a client gave its request; None where it gave none, or one that `REQUEST_ID` does not accept.

    Args:
        headers: of the request, by name in any spelling.
    """
    for name, value in headers.items():
        if name.lower() == REQUEST_ID_HEADER.lower() and isinstance(value, str) and REQUEST_ID.fullmatch(value):
            return value
    return None


@contextmanager
def about(*request_ids: str) -> Iterator[None]:
    """What this thread logs meanwhile carries the ids of these requests."""
    before = _request_ids.set(request_ids)
    try:
        yield
    finally:
        _request_ids.reset(before)


def log_event(event: str, fields: Mapping[str, Any], *, level: int = logging.INFO) -> None:
    """Write a line that has fields instead of a sentence."""
    _log.log(level, event, extra={"event": event, "fields": fields})


def log_reply(reply: Reply, *, request_id: str, server_id: str, version: int, bytes_in: int, bytes_out: int) -> None:
    """Write the line of one request.

    Args:
        reply: what was answered.
        request_id: as the client knows it.
        server_id: that the server gave it, which its own logs name; left out where it is the same.
        version: of the model.
        bytes_in: of images and options.
        bytes_out: of the answer's body.
    """
    fields = {
        **({} if server_id == request_id else {"server_id": server_id}),
        "version": version,
        "status": reply.status,
        "images": reply.images,
        "codes": reply.codes,
        "objects": reply.objects,
        "bytes_in": bytes_in,
        "bytes_out": bytes_out,
        **{f"{stage}_ms": round(ms, DECIMALS) for stage, ms in reply.times_ms.items()},
    }
    with about(request_id):
        log_event("request", fields)


def write_json_lines(stream: TextIO | None = None, **always: str) -> logging.Handler:
    """Let what the server and `cvforge_edge` log go to a stream as JSON, and nowhere else.

    Args:
        stream: standard output where it is None.
        always: fields of every line.

    Returns:
        The handler; the one of an earlier call is taken away.
    """
    handler = logging.StreamHandler(stream or sys.stdout)
    handler.setFormatter(JsonLine(always))
    for name in LOGGERS:
        logger = logging.getLogger(name)
        for old in [old for old in logger.handlers if isinstance(old.formatter, JsonLine)]:
            logger.removeHandler(old)
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        logger.propagate = False
    return handler


class JsonLine(logging.Formatter):
    """A log record as one line of JSON in ASCII; line breaks and all else that could begin another line are escaped.

    Args:
        always: fields of every line.
    """

    def __init__(self, always: Mapping[str, str]) -> None:
        super().__init__()
        self._always = dict(always)

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        event = getattr(record, "event", MESSAGE)
        line: dict[str, Any] = {"time": _utc(record), "level": record.levelname.lower(), "event": event, **self._always}
        ids = _request_ids.get()
        if len(ids) == 1:
            line["request_id"] = ids[0]
        elif ids:
            line["request_ids"] = ids
        if event == MESSAGE:
            line |= {"logger": record.name, "message": record.getMessage()}
        line |= getattr(record, "fields", {})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def _utc(record: logging.LogRecord) -> str:
    """As RFC 3339 wants it, to the millisecond."""
    whole_s = int(record.created)
    milliseconds = int((record.created - whole_s) * 1000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(whole_s))}.{milliseconds:03d}Z"
