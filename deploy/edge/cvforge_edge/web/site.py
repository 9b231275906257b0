"""Which address of the page answers what."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from pathlib import Path

from cvforge_edge.status import StatusBoard
from cvforge_edge.web.access import Access
from cvforge_edge.web.event_log import EventLog
from cvforge_edge.web.health import problem
from cvforge_edge.web.history import History
from cvforge_edge.web.http_message import Request, Response, json_response, text_response
from cvforge_edge.web.live_stream import NEXT_PICTURE_WITHIN_S, STREAM_TYPE, LiveStream, picture_headers
from cvforge_edge.web.metrics import CONTENT_TYPE, WebCounts, metrics_text
from cvforge_edge.web.pictures import Pictures
from cvforge_edge.web.status_document import status_document

PAGE_FOLDER = Path(__file__).parent / "page"
CONTENT_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
FOR_EVERYBODY = ("/login", "/login.js", "/page.css", "/icon.svg")
"""What shows the form that asks for the token."""
FIRST_PICTURE_WITHIN_S = 2.0
MAX_STREAMS = 64
Handler = Callable[[Request, str], Response]


class Site:
    """Answers requests about one run.

    Args:
        board: the status of the run.
        pictures: of each camera.
        events: what rules found.
        history: of the last minutes.
        access: who may ask.
        connections: tells how many are open.
    """

    def __init__(
        self,
        board: StatusBoard,
        *,
        pictures: Sequence[Pictures],
        events: EventLog,
        history: History,
        access: Access,
        connections: Callable[[], int],
    ) -> None:
        self._board, self._pictures, self._events, self._history = board, tuple(pictures), events, history
        self._access, self._connections = access, connections
        self._files = read_files(PAGE_FOLDER)
        self._lock = threading.Lock()
        self._streams = 0
        self._handlers: dict[str, Handler] = {
            "/": lambda request, client: self._file("/index.html"),
            "/login": self._login,
            "/status.json": self._status,
            "/history.json": lambda request, client: json_response(self._history.since(request.number("since") or 0)),
            "/events.json": lambda request, client: json_response(self._events.since(request.number("since") or 0)),
            "/metrics": self._metrics,
            "/healthz": self._healthz,
        }

    def answer(self, request: Request, client: str) -> Response:
        """The answer to a request.

        Args:
            request: from anybody who could connect.
            client: address of its sender.
        """
        if not self._access.names_this_device(request):
            return text_response(
                HTTPStatus.MISDIRECTED_REQUEST, "this page answers to localhost, 127.0.0.1 and [::1] only"
            )
        methods = ("GET", "HEAD", "POST") if request.path == "/login" else ("GET", "HEAD")
        if request.method not in methods:
            return text_response(
                HTTPStatus.METHOD_NOT_ALLOWED, f"accepted {', '.join(methods)}", ("Allow", ", ".join(methods))
            )
        if request.path not in FOR_EVERYBODY and not self._access.allows(request, client):
            if request.path == "/":
                return text_response(HTTPStatus.SEE_OTHER, "log in at /login", ("Location", "/login"))
            return text_response(
                HTTPStatus.UNAUTHORIZED, "the token is missing or wrong", ("WWW-Authenticate", "Bearer")
            )
        handler = self._handlers.get(request.path) or self._camera_handler(request.path)
        return handler(request, client) if handler is not None else self._file(request.path)

    @property
    def streams(self) -> int:
        """How many clients get live pictures now."""
        with self._lock:
            return self._streams

    @property
    def encoded(self) -> int:
        """How many pictures were compressed."""
        return sum(pictures.encoded for pictures in self._pictures)

    def _file(self, path: str) -> Response:
        found = self._files.get(path)
        if found is None:
            return text_response(HTTPStatus.NOT_FOUND, "there is nothing here")
        content_type, body = found
        return Response(body, content_type=content_type)

    def _login(self, request: Request, client: str) -> Response:
        if request.method != "POST":
            if self._access.has_session(request):
                return text_response(HTTPStatus.SEE_OTHER, "logged in already", ("Location", "/"))
            return self._file("/login.html")
        if not self._access.is_token(request.form("token"), client):
            return text_response(HTTPStatus.SEE_OTHER, "wrong token", ("Location", "/login?wrong"))
        return text_response(HTTPStatus.SEE_OTHER, "welcome", ("Location", "/"), self._access.session_header())

    def _status(self, request: Request, client: str) -> Response:
        document = status_document(
            self._board.snapshot(),
            now_s=time.monotonic(),
            now_unix_s=time.time(),
            newest_event=self._events.newest,
            streams=self.streams,
        )
        return json_response(document)

    def _metrics(self, request: Request, client: str) -> Response:
        web = WebCounts(self.streams, self._connections(), self.encoded, self._access.refused)
        text = metrics_text(
            self._board.snapshot(),
            now_s=time.monotonic(),
            now_unix_s=time.time(),
            events=self._events.counts(),
            web=web,
        )
        return Response(text.encode(), content_type=CONTENT_TYPE)

    def _healthz(self, request: Request, client: str) -> Response:
        trouble = problem(self._board.snapshot(), now_s=time.monotonic())
        if trouble is None:
            return text_response(HTTPStatus.OK, "ok")
        return text_response(HTTPStatus.SERVICE_UNAVAILABLE, trouble)

    def _camera_handler(self, path: str) -> Handler | None:
        """The handler of `/live/<camera>.mjpg` or `/snapshot/<camera>.jpg`; cameras are numbers from 0."""
        for prefix, suffix, handler in (
            ("/live/", ".mjpg", self._live),
            ("/snapshot/", ".jpg", self._snapshot),
        ):
            number = path.removeprefix(prefix).removesuffix(suffix)
            if path == f"{prefix}{number}{suffix}" and number.isascii() and number.isdecimal() and len(number) < 4:
                if int(number) < len(self._pictures):
                    pictures = self._pictures[int(number)]
                    return lambda request, client: handler(request, pictures)
                return None
        return None

    def _snapshot(self, request: Request, pictures: Pictures) -> Response:
        after = request.number("after")
        wait_s = FIRST_PICTURE_WITHIN_S if after is None else NEXT_PICTURE_WITHIN_S
        picture = pictures.newest(after=after, timeout_s=wait_s)
        if picture is not None:
            return Response(picture.jpeg, content_type="image/jpeg", headers=picture_headers(picture))
        if after is None:
            return text_response(HTTPStatus.SERVICE_UNAVAILABLE, "no picture yet", ("Retry-After", "2"))
        return Response(b"", HTTPStatus.NO_CONTENT)

    def _live(self, request: Request, pictures: Pictures) -> Response:
        with self._lock:
            if self._streams >= MAX_STREAMS:
                return text_response(HTTPStatus.SERVICE_UNAVAILABLE, "too many viewers", ("Retry-After", "10"))
            self._streams += 1
        return Response(LiveStream(pictures, on_close=self._leave), content_type=STREAM_TYPE)

    def _leave(self) -> None:
        with self._lock:
            self._streams -= 1


def read_files(folder: Path) -> Mapping[str, tuple[str, bytes]]:
    """The files of the page, by path: all there are, so that no request ever names a file of the device."""
    return {
        f"/{path.name}": (CONTENT_TYPES[path.suffix], path.read_bytes())
        for path in sorted(folder.iterdir())
        if path.suffix in CONTENT_TYPES
    }
