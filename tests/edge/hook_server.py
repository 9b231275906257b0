"""A web server on loopback that answers POST requests as a test tells it to, also badly."""

from __future__ import annotations

import functools
import http.server
import json
import socket
import ssl
import threading
from collections import deque
from dataclasses import dataclass
from pathlib import Path

HANG, CUT, DRIP = "hang", "cut", "drip"
"""Say nothing; close the connection in the middle of an answer; answer one byte at a time, for ever."""


@dataclass(frozen=True)
class Taken:
    """A request."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def value(self) -> dict:
        return json.loads(self.body)


class HookHandler(http.server.BaseHTTPRequestHandler):
    """Answers each request with the next one of the server's answers, 204 when none are left."""

    def __init__(self, hooks: HookServer, *arguments) -> None:
        self.hooks = hooks
        super().__init__(*arguments)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        answer = self.hooks.answers.popleft() if self.hooks.answers else 204
        self.hooks.requests.append(Taken(self.path, dict(self.headers), body))
        if answer == HANG:
            self.hooks.stop.wait()
        elif answer == CUT:
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Le")
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)
        elif answer == DRIP:
            self._drip()
        else:
            status, headers = answer if isinstance(answer, tuple) else (answer, {})
            self.send_response(status)
            for name, value in {"Content-Length": "0", **headers}.items():
                self.send_header(name, value)
            self.end_headers()

    def _drip(self) -> None:
        try:
            self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
            while not self.hooks.stop.wait(0.05):
                self.wfile.write(b"x")
        except OSError:
            return

    def log_message(self, *arguments) -> None:
        pass


class QuietServer(http.server.ThreadingHTTPServer):
    """Without tracebacks about clients that went away."""

    def handle_error(self, request, client_address) -> None:
        pass


class HookServer:
    """Takes requests; `answers` are status codes, (status, headers), `HANG`, `CUT` or `DRIP`."""

    def __init__(self, *answers, port: int = 0, certificates: Path | None = None) -> None:
        self.answers, self.requests = deque(answers), []
        self.stop = threading.Event()
        self.server = QuietServer(("127.0.0.1", port), functools.partial(HookHandler, self))
        self.server.daemon_threads = True
        if certificates is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificates / "server.pem", certificates / "server.key")
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.port = self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self.thread.start()

    def close(self) -> None:
        self.stop.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()
