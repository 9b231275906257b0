"""A small HTTP server: a bounded number of connections, none of which can hold up another, and an end within a second."""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from http import HTTPStatus

from cvforge_edge.web.http_message import (
    MAX_HEAD_BYTES,
    Request,
    RequestError,
    Response,
    body_length,
    parse_head,
    text_response,
)

logger = logging.getLogger(__name__)

MAX_CONNECTIONS = 128
MAX_CONNECTIONS_OF_ADDRESS = 96
"""One client, however greedy, leaves room for others."""
REQUEST_WITHIN_S = 5.0
"""From the first byte of a request to its last, however slowly they drip."""
IDLE_S = 15.0
"""How long a connection may wait for its next request."""
SEND_WITHIN_S = 10.0
"""For an answer, or one part of a stream."""
STREAM_BUFFER_BYTES = 64 * 1024
"""Of a stream the system keeps little, so that a slow viewer sees the newest picture and not a queue."""
ACCEPT_POLL_S = 0.2
JOIN_TIMEOUT_S = 0.6
DRAIN_S, DRAIN_BYTES = 0.1, 64 * 1024
RECEIVE_BYTES = 4096
END_OF_HEAD = b"\r\n\r\n"

Answer = Callable[[Request, str], Response]


class WebServer:
    """Answers requests, each connection on a thread of its own.

    Args:
        listener: listens already; is closed with the server.
        answer: called on many threads with a request and the address of its client; an `OSError` of it ends the connection.
    """

    def __init__(self, listener: socket.socket, answer: Answer) -> None:
        self._listener, self._answer = listener, answer
        self._lock = threading.Lock()
        self._clients: dict[socket.socket, tuple[str, threading.Thread]] = {}
        self._idle: dict[socket.socket, None] = {}
        self._closing = threading.Event()
        listener.settimeout(ACCEPT_POLL_S)
        self._thread = threading.Thread(target=self._accept_all, name="web accept", daemon=True)

    def start(self) -> None:
        """Begin to accept connections."""
        self._thread.start()

    @property
    def connections(self) -> int:
        """How many are open."""
        with self._lock:
            return len(self._clients)

    def hang_up(self) -> None:
        """Take no further connections, and begin to end those that there are; may be called twice."""
        self._closing.set()
        with self._lock:
            clients = list(self._clients)
        for client in clients:
            _hang_up(client)

    def close(self) -> None:
        """End every connection and stop listening; may be called twice."""
        self.hang_up()
        with self._lock:
            clients = dict(self._clients)
        deadline_s = time.monotonic() + JOIN_TIMEOUT_S
        for thread in (self._thread, *(thread for _, thread in clients.values())):
            thread.join(max(0.0, deadline_s - time.monotonic()))
        self._listener.close()

    def _accept_all(self) -> None:
        while not self._closing.is_set():
            try:
                client, (address, *_) = self._listener.accept()
            except TimeoutError:
                continue
            except OSError as error:  # no descriptor is left, for instance; those in use come back
                logger.warning("web: a connection cannot be accepted (%s)", error.strerror)
                self._closing.wait(ACCEPT_POLL_S)
                continue
            if not self._admit(client, address):
                _refuse(client)

    def _admit(self, client: socket.socket, address: str) -> bool:
        """Serve a connection, unless there are too many and none of them is idle."""
        with self._lock:
            of_address = sum(address == other for other, _ in self._clients.values())
            crowded = of_address >= MAX_CONNECTIONS_OF_ADDRESS
            if crowded or len(self._clients) >= MAX_CONNECTIONS:
                idle = (c for c in self._idle if not crowded or self._clients[c][0] == address)
                oldest = next(idle, None)
                if oldest is None:
                    return False
                del self._idle[oldest]
                _hang_up(oldest)  # its browser opens another when it needs one
            thread = threading.Thread(target=self._serve, args=(client, address), name="web client", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # the system has no room for a thread
                return False
            self._clients[client] = (address, thread)
            return True

    def _serve(self, client: socket.socket, address: str) -> None:
        try:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            received = b""
            while not self._closing.is_set():
                received = self._wait_for_request(client, received)
                if not received:
                    return
                request, received = _read_request(client, received)
                if not self._send(client, self._answer_safely(request, address), request):
                    return
        except RequestError as error:
            with contextlib.suppress(OSError):
                client.sendall(_whole(text_response(error.status, str(error))))
                _drain(client)
        except OSError:  # the client has left, or is too slow
            pass
        finally:
            with self._lock:
                del self._clients[client]
            client.close()

    def _answer_safely(self, request: Request, address: str) -> Response:
        try:
            return self._answer(request, address)
        except (RequestError, OSError):
            raise
        except Exception:
            logger.exception("web: %s %s failed", request.method, request.path)
            return text_response(HTTPStatus.INTERNAL_SERVER_ERROR, "this failed on the device; its log says why")

    def _wait_for_request(self, client: socket.socket, received: bytes) -> bytes:
        """The first bytes of the next request; none when the client has nothing more to ask."""
        if received:
            return received
        with self._lock:
            self._idle[client] = None
        try:
            client.settimeout(IDLE_S)
            return client.recv(RECEIVE_BYTES)
        finally:
            with self._lock:
                self._idle.pop(client, None)

    def _send(self, client: socket.socket, response: Response, request: Request) -> bool:
        """Send an answer; whether the connection stays open for another request."""
        keep_open = request.keep_open and isinstance(response.body, bytes) and not self._closing.is_set()
        client.settimeout(SEND_WITHIN_S)
        if isinstance(response.body, bytes):
            body = b"" if request.method == "HEAD" else response.body
            client.sendall(response.head(keep_open=keep_open) + body)
            return keep_open
        with contextlib.closing(response.body) as parts:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, STREAM_BUFFER_BYTES)
            client.sendall(response.head(keep_open=False))
            if request.method == "HEAD":
                return False
            for part in parts:
                if self._closing.is_set() or (not part and _has_left(client)):
                    break
                client.sendall(part)
        return False


def _read_request(client: socket.socket, received: bytes) -> tuple[Request, bytes]:
    """A request whose first bytes are there, and what came after it.

    Raises:
        RequestError: it is malformed, too large or too slow.
        OSError: the client has left.
    """
    deadline_s = time.monotonic() + REQUEST_WITHIN_S
    while END_OF_HEAD not in received:
        if len(received) > MAX_HEAD_BYTES:
            raise RequestError(
                HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"accepted {MAX_HEAD_BYTES} bytes of headers"
            )
        received += _receive(client, deadline_s)
    head, _, rest = received.partition(END_OF_HEAD)
    if len(head) > MAX_HEAD_BYTES:
        raise RequestError(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"accepted {MAX_HEAD_BYTES} bytes of headers")
    request = parse_head(head)
    length = body_length(request)
    while len(rest) < length:
        rest += _receive(client, deadline_s)
    return replace(request, body=rest[:length]), rest[length:]


def _receive(client: socket.socket, deadline_s: float) -> bytes:
    left_s = deadline_s - time.monotonic()
    too_slow = RequestError(HTTPStatus.REQUEST_TIMEOUT, f"accepted a request within {REQUEST_WITHIN_S:g} s")
    if left_s <= 0:
        raise too_slow
    client.settimeout(left_s)
    try:
        data = client.recv(RECEIVE_BYTES)
    except TimeoutError:
        raise too_slow from None
    if not data:
        raise ConnectionError("left in the middle of a request")
    return data


def _whole(response: Response) -> bytes:
    assert isinstance(response.body, bytes)
    return response.head(keep_open=False) + response.body


def _refuse(client: socket.socket) -> None:
    """Say that there are too many connections, without waiting for anything."""
    with contextlib.suppress(OSError):
        client.settimeout(0)
        client.send(_whole(text_response(HTTPStatus.SERVICE_UNAVAILABLE, "too many connections", ("Retry-After", "2"))))
    client.close()


def _hang_up(client: socket.socket) -> None:
    """Wake the thread of a connection, whatever it waits for."""
    with contextlib.suppress(OSError):
        client.shutdown(socket.SHUT_RDWR)


def _has_left(client: socket.socket) -> bool:
    """Whether the other side has closed; it shows only to those who try to read."""
    client.settimeout(0)
    try:
        return client.recv(1, socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False
    finally:
        client.settimeout(SEND_WITHIN_S)


def _drain(client: socket.socket) -> None:
    """Take what is still on its way: closing over unread data would destroy the answer."""
    client.shutdown(socket.SHUT_WR)
    client.settimeout(DRAIN_S)
    taken = 0
    while taken < DRAIN_BYTES and (data := client.recv(RECEIVE_BYTES)):
        taken += len(data)
