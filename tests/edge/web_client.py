"""A page to ask, and ways to ask it that no browser would use."""

from __future__ import annotations

import http.client
import socket
import time
from dataclasses import dataclass, field

from cvforge_edge.status import CameraStatus, RunStatus, StatusBoard
from cvforge_edge.web.address import WebAddress, listen
from cvforge_edge.web.sink import WebSink

WAIT_S = 20.0


@dataclass
class Got:
    """An answer."""

    status: int
    headers: dict[str, str]
    body: bytes = field(repr=False)


def healthy_board(*names: str) -> StatusBoard:
    """The board of a run that began a minute ago and whose cameras are live."""
    now_s = time.monotonic()
    cameras = tuple(
        CameraStatus(name, "live", frames=10, fps=5.0, state_since_s=now_s - 60, result_s=now_s, captured_s=now_s - 0.1)
        for name in names
    )
    return StatusBoard(RunStatus("running", "cells", 3, "litert, m.tflite", 1e9, now_s - 60, now_s, cameras))


def open_page(board: StatusBoard | None = None, *, cameras: int = 1, token: str | None = None) -> WebSink:
    """A page on a free port of loopback."""
    listener = listen(WebAddress("127.0.0.1", 0))
    board = board or healthy_board(*map(str, range(cameras)))
    return WebSink(board, listener=listener, cameras=cameras, token=token)


def port_of(page: WebSink) -> int:
    return int(page.url.rstrip("/").rpartition(":")[2])


def ask(page: WebSink, path: str, *, method: str = "GET", body: str | None = None, **headers: str) -> Got:
    """One answer; `Host` and the like are given as `host=...`."""
    connection = http.client.HTTPConnection("127.0.0.1", port_of(page), timeout=WAIT_S)
    try:
        connection.request(method, path, body=body, headers={name.replace("_", "-"): v for name, v in headers.items()})
        answer = connection.getresponse()
        return Got(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
    finally:
        connection.close()


def connect(page: WebSink, text: str = "") -> socket.socket:
    """A bare connection on which a text was sent."""
    connection = socket.create_connection(("127.0.0.1", port_of(page)), timeout=WAIT_S)
    connection.sendall(text.encode())
    return connection


def everything(connection: socket.socket) -> bytes:
    """What comes until the server closes."""
    parts = []
    try:
        while data := connection.recv(65536):
            parts.append(data)
    except ConnectionResetError:
        pass
    return b"".join(parts)


def wait_until(true, *, timeout_s: float = WAIT_S) -> None:
    """Return as soon as a condition holds; fail when it never does."""
    deadline_s = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < deadline_s, "still not so"
        time.sleep(0.01)
