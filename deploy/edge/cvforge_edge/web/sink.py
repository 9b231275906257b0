"""The web page of a run, as one more place for results: the pipeline hands them over and never waits."""

from __future__ import annotations

import socket
import threading
from collections.abc import Mapping

from cvforge_edge.frame import Result
from cvforge_edge.status import StatusBoard
from cvforge_edge.web.access import TOKEN_VARIABLE, Access, given_token, make_token
from cvforge_edge.web.address import is_loopback, listen, page_url, parse_address
from cvforge_edge.web.event_log import EventLog
from cvforge_edge.web.history import History
from cvforge_edge.web.pictures import Pictures
from cvforge_edge.web.server import WebServer
from cvforge_edge.web.site import Site


class WebSink:
    """Serves live pictures, figures, events and metrics of a run.

    Args:
        board: the status of the run.
        listener: a socket that listens; closed with the sink.
        cameras: how many there are.
        token: what clients must know; None only where the socket is a loopback one: everybody who can connect may look.
        made_token: the token, where it was made for this run and the user does not know it yet.
    """

    def __init__(
        self,
        board: StatusBoard,
        *,
        listener: socket.socket,
        cameras: int,
        token: str | None,
        made_token: str | None = None,
    ) -> None:
        local = is_loopback(listener)
        assert token is not None or local, "open_web makes a token where other devices can connect"
        self.url, self.made_token = page_url(listener), made_token
        self._access = Access(token, port=listener.getsockname()[1], local_names_only=local)
        encoding = threading.Lock()
        self._pictures = tuple(Pictures(encoding) for _ in range(cameras))
        self._events = EventLog()
        self._history = History(board)
        self._site = Site(
            board,
            pictures=self._pictures,
            events=self._events,
            history=self._history,
            access=self._access,
            connections=lambda: self._server.connections,
        )
        self._server = WebServer(listener, self._site.answer)
        self._server.start()

    @property
    def greeting(self) -> str:
        """What to tell the user once, when the run begins; no log may keep it where a token was made."""
        if self.made_token is None:
            return f"web page: {self.url}"
        # What follows # stays in the browser: no server and no log sees it.
        return (
            f"web page: {self.url}login#{self.made_token}\n"
            f"  token made for this run: {self.made_token} (your own: --web-token FILE, or {TOKEN_VARIABLE})"
        )

    def write(self, result: Result) -> None:
        """Take one result; those who look get its picture when they have time for it."""
        self._events.add(result.events)
        self._pictures[result.camera].offer(result)

    def hurry(self) -> None:
        """Begin to end: see `Unhurried`."""
        self._access.close()
        for pictures in self._pictures:
            pictures.close()
        self._server.hang_up()

    def close(self) -> None:
        """Let every client go and stop listening, within a second; may be called twice."""
        self.hurry()
        self._server.close()
        self._history.close()

    def summary(self) -> str:
        """Where the page is, and how much was looked at."""
        return f"web page {self.url}: {self._site.encoded} pictures shown"


def open_web(
    text: str, *, token_file: str | None, environment: Mapping[str, str], board: StatusBoard, cameras: int
) -> WebSink:
    """The page on the address that a user has named; with a new token where one is needed and none is given.

    Args:
        text: as `--web` has it.
        token_file: as `--web-token` has it.
        environment: may hold the token.
        board: the status of the run.
        cameras: how many there are.

    Raises:
        UsageError: address or token are not usable.
    """
    address = parse_address(text)
    token = given_token(token_file, environment)
    listener = listen(address)
    made_token = make_token() if token is None and not is_loopback(listener) else None
    return WebSink(board, listener=listener, cameras=cameras, token=token or made_token, made_token=made_token)
