"""What a browser asks and what it gets: the part of HTTP/1.1 that a page of a device needs, and nothing more."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import field
from http import HTTPStatus
from typing import Any, Protocol
from urllib.parse import parse_qs

from cvforge_edge.records import dataclass

MAX_HEAD_BYTES = 8192
MAX_BODY_BYTES = 1024
METHODS_WITH_BODY = ("POST",)
TEXT, JSON = "text/plain; charset=utf-8", "application/json"
SECURITY_HEADERS = (
    # Everything comes from this server, nothing runs that is not a file of it, and nobody may frame it or read it.
    (
        "Content-Security-Policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    ),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Referrer-Policy", "no-referrer"),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Cache-Control", "no-store"),
)
_TOKEN_CHARACTERS = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")


class RequestError(Exception):
    """A request that cannot be answered as asked; the connection ends after its answer."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


@dataclass(frozen=True)
class Request:
    """One request.

    Attributes:
        method: as sent, such as `GET`.
        path: without query, as sent: nothing is decoded, so `..` and `%2e` mean nothing.
        query: after the question mark.
        headers: by name in lower case; those sent twice joined by a comma.
        keep_open: whether the browser wants to ask again on this connection.
        body: of a login form.
    """

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    keep_open: bool
    body: bytes = b""

    def number(self, name: str) -> int | None:
        """A whole number of the query, such as `since` in `?since=17`; None when it is not there.

        Raises:
            RequestError: it is no number.
        """
        values = parse_qs(self.query, keep_blank_values=True, max_num_fields=8).get(name)
        if values is None:
            return None
        text = values[0]
        if not (text.isascii() and text.isdecimal() and len(text) <= 15):
            raise RequestError(HTTPStatus.BAD_REQUEST, f"{name}: accepted a whole number")
        return int(text)

    def form(self, name: str) -> str:
        """A field of a form; empty when it is not there."""
        fields = parse_qs(self.body.decode("ascii", errors="replace"), max_num_fields=8)
        return fields.get(name, [""])[0]

    def cookie(self, name: str) -> str:
        """A cookie; empty when it is not there."""
        for part in self.headers.get("cookie", "").replace(",", ";").split(";"):
            key, _, value = part.strip().partition("=")
            if key == name:
                return value
        return ""


class Stream(Protocol):
    """A body whose end is not known; an empty part means that there is nothing yet."""

    def __iter__(self) -> Stream: ...

    def __next__(self) -> bytes: ...

    def close(self) -> None:
        """The client has left; called once, also where no part was asked for."""


@dataclass(frozen=True)
class Response:
    """One answer.

    Attributes:
        body: all of it, or its parts as they come.
        status: of HTTP.
        content_type: of the body.
        headers: beside those that every answer has.
    """

    body: bytes | Stream
    status: int = HTTPStatus.OK
    content_type: str = TEXT
    headers: tuple[tuple[str, str], ...] = field(default=())

    def head(self, *, keep_open: bool) -> bytes:
        """Status line and headers."""
        lines = [f"HTTP/1.1 {int(self.status)} {HTTPStatus(self.status).phrase}", f"Content-Type: {self.content_type}"]
        if isinstance(self.body, bytes) and self.status != HTTPStatus.NO_CONTENT:
            lines.append(f"Content-Length: {len(self.body)}")
        lines.append(f"Connection: {'keep-alive' if keep_open else 'close'}")
        lines += [f"{name}: {value}" for name, value in (*SECURITY_HEADERS, *self.headers)]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def text_response(status: int, text: str, *headers: tuple[str, str]) -> Response:
    """A short answer for a person or a log."""
    return Response((text + "\n").encode(), status, TEXT, headers)


def json_response(value: Any) -> Response:
    """A value for a program."""
    return Response(json.dumps(value, allow_nan=False, separators=(",", ":")).encode(), content_type=JSON)


def parse_head(head: bytes) -> Request:
    """The request of a head, without the empty line that ends it.

    Raises:
        RequestError: it is not HTTP/1.0 or 1.1 as RFC 9112 writes it, or asks for what is not offered.
    """
    lines = head.decode("latin-1").split("\r\n")
    words = lines[0].split(" ")
    if len(words) != 3 or words[2] not in ("HTTP/1.1", "HTTP/1.0"):
        raise RequestError(HTTPStatus.BAD_REQUEST, "accepted HTTP/1.1")
    method, target, version = words
    if not target.startswith("/") or not target.isprintable():
        raise RequestError(HTTPStatus.BAD_REQUEST, "accepted a path that begins with /")
    headers = _headers(lines[1:])
    if version == "HTTP/1.1" and not headers.get("host"):
        raise RequestError(HTTPStatus.BAD_REQUEST, "the Host header is missing")
    path, _, query = target.partition("?")
    wish = headers.get("connection", "").lower()
    keep_open = wish != "close" if version == "HTTP/1.1" else wish == "keep-alive"
    return Request(method, path, query, headers, keep_open)


def body_length(request: Request) -> int:
    """How many bytes follow the head.

    Raises:
        RequestError: it does not say, there are too many, or its method has no body.
    """
    if "transfer-encoding" in request.headers:
        raise RequestError(HTTPStatus.NOT_IMPLEMENTED, "a body needs a Content-Length")
    text = request.headers.get("content-length", "0")
    if not (text.isascii() and text.isdecimal()):
        raise RequestError(HTTPStatus.BAD_REQUEST, "Content-Length: accepted one whole number")
    limit = MAX_BODY_BYTES if request.method in METHODS_WITH_BODY else 0
    if len(text) > 9 or int(text) > limit:
        raise RequestError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"accepted {limit} bytes at most")
    return int(text)


def _headers(lines: list[str]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if (
            not colon
            or not name
            or not set(name) <= _TOKEN_CHARACTERS
            or "\r" in value
            or "\n" in value
            or "\0" in value
        ):
            raise RequestError(HTTPStatus.BAD_REQUEST, "a header is not of the form name: value")
        name, value = name.lower(), value.strip(" \t")
        if name == "host" and name in headers:
            raise RequestError(HTTPStatus.BAD_REQUEST, "accepted one Host header")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers
