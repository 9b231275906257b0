"""One POST request to a webhook, and what its answer means."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import math
import socket
import threading
import time
from email.utils import parsedate_to_datetime
from typing import Any

from cvforge_edge import __version__
from cvforge_edge.records import dataclass
from cvforge_edge.sinks.webhook_settings import WebhookSettings

DEADLINES = 3
"""The whole request may take so many timeouts: a server that sends a byte now and then is never silent."""
TRY_AGAIN = frozenset({408, 425, 429})
"""Request timeout, too early, too many requests. Source: RFC 9110, 8470 and 6585."""
LONGEST_RETRY_AFTER_S = 3600.0


@dataclass(frozen=True)
class Answer:
    """What became of a request.

    Attributes:
        taken: whether the server has the message.
        final: whether trying again would change nothing.
        reason: for people; empty when taken.
        retry_after_s: pause that the server asks for; None where it does not.
    """

    taken: bool
    final: bool
    reason: str = ""
    retry_after_s: float | None = None


class _WholeResponse(http.client.HTTPResponse):
    """An answer whose header came to its end; Python's own class takes one that was cut off, even in its first lines."""

    def begin(self) -> None:
        """Read status and header.

        Raises:
            http.client.IncompleteRead: the connection ended before they did.
        """
        lines = _Lines(self.fp)
        self.fp = lines  # type: ignore[assignment]
        super().begin()
        if self.fp is lines:  # type: ignore[comparison-overlap]  # begin() releases it where no body comes
            self.fp = lines.file
        if lines.newest not in (b"\r\n", b"\n"):
            raise http.client.IncompleteRead(lines.newest)


class _Lines:
    """A file that remembers the newest line that was read."""

    def __init__(self, file: Any) -> None:
        self.file, self.newest = file, b""

    def readline(self, limit: int) -> bytes:
        self.newest = self.file.readline(limit)
        return self.newest

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)


class WebhookRequest:
    """Sends one body; `abort` ends it from another thread."""

    def __init__(self, settings: WebhookSettings) -> None:
        """Prepare; nothing is sent yet.

        Args:
            settings: where to.
        """
        self._settings = settings
        self._aborted_because: str | None = None
        self._connection: http.client.HTTPConnection
        if settings.tls is None:
            self._connection = http.client.HTTPConnection(settings.host, settings.port, timeout=settings.timeout_s)
        else:
            self._connection = http.client.HTTPSConnection(
                settings.host, settings.port, timeout=settings.timeout_s, context=settings.tls
            )
        self._connection.response_class = _WholeResponse

    def send(self, kind: str, body: bytes) -> Answer:
        """POST the body and wait for the answer; nothing is raised.

        Args:
            kind: `events` or `results`, which goes along in a header.
            body: JSON.
        """
        limit_s = DEADLINES * self._settings.timeout_s
        watch = threading.Timer(limit_s, self._abort, args=[f"no answer within {limit_s:g} s"])
        watch.daemon = True
        watch.start()
        try:
            self._connection.request("POST", self._settings.target, body=body, headers=self._headers(kind, body))
            response = self._connection.getresponse()
            return _meaning(
                response.status, response.reason, response.getheader("Retry-After"), date=response.getheader("Date")
            )
        except (OSError, http.client.HTTPException, ValueError) as error:
            if self._aborted_because is not None:
                return Answer(taken=False, final=False, reason=self._aborted_because)
            if isinstance(error, http.client.IncompleteRead):
                return Answer(taken=False, final=False, reason="the answer was cut off")
            said = getattr(error, "verify_message", None) or getattr(error, "strerror", None) or str(error)
            return Answer(taken=False, final=False, reason=said or type(error).__name__)
        finally:
            watch.cancel()
            self._connection.close()

    def abort(self) -> None:
        """Give the request up, whatever it is waiting for, since the run ends."""
        self._abort("no answer before the end of the run")

    def _abort(self, reason: str) -> None:
        self._aborted_because = self._aborted_because or reason
        connection = self._connection.sock
        if connection is not None:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                return  # it has ended meanwhile

    def _headers(self, kind: str, body: bytes) -> dict[str, str]:
        headers = {
            "Content-Type": "application/json; charset=utf-8",
            "User-Agent": f"cvforge/{__version__}",
            "X-CVForge-Kind": kind,
            "Idempotency-Key": hashlib.sha256(body).hexdigest()[:32],
            "Connection": "close",
        }
        if self._settings.token is not None:
            headers["Authorization"] = f"Bearer {self._settings.token}"
        if self._settings.signing_key is not None:
            signature = hmac.new(self._settings.signing_key.encode("utf-8"), body, hashlib.sha256).hexdigest()
            headers["X-CVForge-Signature-256"] = f"sha256={signature}"
        return headers


def _meaning(status: int, phrase: str, retry_after: str | None, *, date: str | None) -> Answer:
    if 200 <= status < 300:
        return Answer(taken=True, final=True)
    final = 400 <= status < 500 and status not in TRY_AGAIN
    hint = "; the address has moved, give the new one" if 300 <= status < 400 else ""
    return Answer(
        taken=False,
        final=final,
        reason=f"{status} {phrase}{hint}".strip(),
        retry_after_s=None if final else retry_after_s(retry_after, now_unix_s=_server_unix_s(date)),
    )


def _server_unix_s(date: str | None) -> float:
    """The server's own clock, since ours may be years away from it; ours where it does not tell."""
    try:
        return time.time() if date is None else parsedate_to_datetime(date).timestamp()
    except (ValueError, TypeError, OverflowError):
        return time.time()


def retry_after_s(value: str | None, *, now_unix_s: float) -> float | None:
    """The pause that a `Retry-After` header asks for, at most an hour; None where it says nothing that we understand.

    Source: RFC 9110, 10.2.3: seconds, or a date.

    >>> retry_after_s("120", now_unix_s=0.0)
    120.0
    >>> retry_after_s("Thu, 01 Jan 1970 00:01:00 GMT", now_unix_s=45.0)
    15.0
    """
    if value is None:
        return None
    try:
        seconds = float(value) if value.strip().isdecimal() else parsedate_to_datetime(value).timestamp() - now_unix_s
    except (ValueError, TypeError, OverflowError):
        return None
    return min(max(seconds, 0.0), LONGEST_RETRY_AFTER_S) if math.isfinite(seconds) else None
