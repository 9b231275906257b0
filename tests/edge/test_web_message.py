"""Requests are read strictly: what is malformed, doubled or too large has its own answer."""

from __future__ import annotations

import pytest

from cvforge_edge.web.http_message import Request, RequestError, Response, body_length, json_response, parse_head

HOST = "Host: localhost"


def head(*lines: str) -> bytes:
    return "\r\n".join(lines).encode("latin-1")


def test_a_request_of_a_browser_is_read():
    request = parse_head(head("GET /events.json?since=17&x= HTTP/1.1", HOST, "Cookie: a=1; b=2=3", "ACCEPT:  */* "))
    assert (request.method, request.path, request.query) == ("GET", "/events.json", "since=17&x=")
    assert (request.number("since"), request.number("absent")) == (17, None)
    assert (request.cookie("a"), request.cookie("b"), request.cookie("c")) == ("1", "2=3", "")
    assert request.headers["accept"] == "*/*"


@pytest.mark.parametrize(
    ("lines", "status", "words"),
    [
        (["GET /"], 400, "HTTP/1.1"),
        (["GET / HTTP/2", HOST], 400, "HTTP/1.1"),
        (["GET  / HTTP/1.1", HOST], 400, "HTTP/1.1"),
        (["GET http://other/ HTTP/1.1", HOST], 400, "begins with /"),
        (["GET /\x00 HTTP/1.1", HOST], 400, "begins with /"),
        (["GET / HTTP/1.1"], 400, "Host"),
        (["GET / HTTP/1.1", HOST, "Host: evil"], 400, "one Host"),
        (["GET / HTTP/1.1", HOST, "no colon"], 400, "name: value"),
        (["GET / HTTP/1.1", HOST, "bad name: 1"], 400, "name: value"),
        (["GET / HTTP/1.1", HOST, " folded: 1"], 400, "name: value"),
        (["GET / HTTP/1.1", HOST, "x: a\nb"], 400, "name: value"),
        (["GET / HTTP/1.1", HOST, "Transfer-Encoding: chunked"], 501, "Content-Length"),
        (["GET / HTTP/1.1", HOST, "Content-Length: 5"], 413, "accepted 0 bytes"),
        (["POST / HTTP/1.1", HOST, "Content-Length: 1025"], 413, "accepted 1024 bytes"),
        (["POST / HTTP/1.1", HOST, "Content-Length: 99999999999999999999"], 413, "accepted 1024"),
        (["POST / HTTP/1.1", HOST, "Content-Length: -1"], 400, "whole number"),
        (["POST / HTTP/1.1", HOST, "Content-Length: 3", "Content-Length: 4"], 400, "whole number"),
    ],
)
def test_a_bad_request_says_what_is_accepted(lines, status, words):
    with pytest.raises(RequestError, match=words) as caught:
        body_length(parse_head(head(*lines)))
    assert caught.value.status == status


@pytest.mark.parametrize("text", ["", "-1", "1e3", "x", "1" * 16, "\u0663"])
def test_a_number_of_a_query_is_a_plain_whole_number(text):
    from urllib.parse import quote

    request = Request("GET", "/", f"since={quote(text)}", {}, True)
    with pytest.raises(RequestError, match="since: accepted a whole number"):
        request.number("since")


def test_connections_stay_open_as_the_versions_of_http_say():
    assert parse_head(head("GET / HTTP/1.1", HOST)).keep_open
    assert not parse_head(head("GET / HTTP/1.1", HOST, "Connection: close")).keep_open
    assert not parse_head(head("GET / HTTP/1.0")).keep_open
    assert parse_head(head("GET / HTTP/1.0", "Connection: Keep-Alive")).keep_open


def test_every_answer_forbids_what_the_page_does_not_need():
    text = Response(b"x").head(keep_open=True).decode()
    assert text.startswith("HTTP/1.1 200 OK\r\n")
    policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self';"
    for header in (
        f"Content-Security-Policy: {policy}",
        "X-Content-Type-Options: nosniff",
        "Referrer-Policy: no-referrer",
        "X-Frame-Options: DENY",
        "Cross-Origin-Resource-Policy: same-origin",
        "Cache-Control: no-store",
        "Content-Length: 1",
        "Connection: keep-alive",
    ):
        assert f"\r\n{header}" in text
    assert "Content-Length" not in Response(b"", 204).head(keep_open=True).decode()


def test_json_never_holds_what_json_cannot_say():
    with pytest.raises(ValueError, match="JSON"):
        json_response({"fps": float("nan")})
