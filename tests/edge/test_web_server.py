"""The server answers many, waits for nobody, and is gone within a second."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

import cvforge_edge.web.access as access
import cvforge_edge.web.live_stream as live_stream
import cvforge_edge.web.server as server
import cvforge_edge.web.site as site
from edge.sink_results import result
from edge.web_client import ask, connect, everything, healthy_board, open_page, port_of, wait_until

GET = "GET {} HTTP/1.1\r\nHost: localhost\r\n\r\n"
STOP_WITHIN_S = 1.0
TOKEN = "a-token-of-29-characters-long"


@pytest.fixture
def page():
    made = open_page(cameras=2)
    yield made
    made.close()


@pytest.fixture
def locked(monkeypatch):
    monkeypatch.setattr(access, "WRONG_TOKEN_PAUSE_S", 0.0)
    made = open_page(token=TOKEN)
    yield made
    made.close()


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def web_threads() -> int:
    return sum(thread.name.startswith("web ") for thread in threading.enumerate())


def test_every_file_of_the_page_is_served_and_refers_to_nothing_else(page):
    for path, kind in (
        ("/", "text/html"),
        ("/page.css", "text/css"),
        ("/page.js", "text/javascript"),
        ("/icon.svg", "image/svg"),
    ):
        got = ask(page, path)
        assert (got.status, got.headers["content-type"].split("+")[0].split(";")[0]) == (200, kind)
    names = [path.name for path in site.PAGE_FOLDER.iterdir()]
    for path in site.PAGE_FOLDER.iterdir():
        text = path.read_text(encoding="utf-8")
        assert "//" not in text.replace("http://www.w3.org/2000/svg", "").replace("// ", "")
        assert "style=" not in text
        assert all(name in names for name in server_files(text))


def server_files(text: str) -> list[str]:
    return re.findall(r'"\.?/([a-z]+\.(?:js|css|svg))"', text)


@pytest.mark.parametrize(
    "path",
    [
        "/../sink.py",
        "/%2e%2e/sink.py",
        "/page/../page.css",
        "//etc/passwd",
        "/index.html/",
        "/live/2.mjpg",
        "/live/-1.mjpg",
        "/live/0.mjpg/",
        "/live/%30.mjpg",
        "/snapshot/0",
        "/snapshot/00000.jpg",
        "/snapshot/../0.jpg",
        "/status",
        "/.live/0.mjpg",
    ],
)
def test_only_what_there_is_has_an_address(page, path):
    connection = connect(page, GET.format(path).replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n"))
    assert everything(connection).startswith(b"HTTP/1.1 404 ")
    connection.close()


def test_methods_that_change_something_are_refused(page):
    for method in ("PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "POST"):
        got = ask(page, "/status.json", method=method)
        assert (got.status, got.headers["allow"]) == (405, "GET, HEAD")
    head, get = ask(page, "/status.json", method="HEAD"), ask(page, "/status.json")
    assert (head.status, head.body) == (200, b"")
    assert abs(int(head.headers["content-length"]) - len(get.body)) < 20
    assert ask(page, "/live/0.mjpg", method="HEAD").headers["content-type"].startswith("multipart/x-mixed-replace")
    wait_until(lambda: page._site.streams == 0)


def test_another_name_for_this_device_is_refused_on_loopback(page):
    assert ask(page, "/", host="evil.example").status == 421
    assert ask(page, "/live/0.mjpg", host="evil.example:80").status == 421
    assert ask(page, "/", host=f"localhost:{port_of(page)}").status == 200


def test_several_requests_share_a_connection_also_when_sent_at_once(page):
    connection = connect(page, GET.format("/healthz") * 2)
    answers = b""
    while answers.count(b"\r\n\r\nok\n") < 2:
        answers += connection.recv(4096)
    connection.sendall(GET.format("/healthz").encode())
    assert b"200 OK" in connection.recv(4096)
    connection.close()


def test_nothing_is_shown_without_the_token(locked):
    locked.write(result())
    for path in (
        "/status.json",
        "/metrics",
        "/healthz",
        "/events.json",
        "/history.json",
        "/live/0.mjpg",
        "/page.js",
        "/nothing",
    ):
        got = ask(locked, path)
        assert (got.status, got.headers["www-authenticate"]) == (401, "Bearer")
    assert (ask(locked, "/").status, ask(locked, "/").headers["location"]) == (303, "/login")
    assert ask(locked, "/snapshot/0.jpg", authorization=f"Bearer {TOKEN}x").status == 401
    got = ask(locked, "/snapshot/0.jpg", authorization=f"Bearer {TOKEN}")
    assert (got.status, got.body[:2]) == (200, b"\xff\xd8")
    for path in site.FOR_EVERYBODY:
        assert ask(locked, path).status == 200


def test_the_form_gives_a_session(locked):
    form = {"content_type": "application/x-www-form-urlencoded"}
    wrong = ask(locked, "/login", method="POST", body="token=no", **form)
    assert (wrong.status, wrong.headers["location"], "set-cookie" in wrong.headers) == (303, "/login?wrong", False)
    right = ask(locked, "/login", method="POST", body=f"token={TOKEN}", **form)
    assert (right.status, right.headers["location"]) == (303, "/")
    assert "HttpOnly; SameSite=Strict" in right.headers["set-cookie"]
    cookie = right.headers["set-cookie"].split(";")[0]
    assert ask(locked, "/", cookie=cookie).status == 200
    assert ask(locked, "/login", cookie=cookie).headers["location"] == "/"
    assert ask(locked, "/", cookie=cookie + "0").status == 303


def test_a_guess_is_answered_late_and_the_end_does_not_wait_for_it(monkeypatch):
    monkeypatch.setattr(access, "WRONG_TOKEN_PAUSE_S", 600.0)
    page = open_page(token=TOKEN)
    connection = connect(page, GET.format("/").replace("\r\n\r\n", "\r\nAuthorization: Bearer guess\r\n\r\n"))
    wait_until(lambda: page._access.refused == 1)
    begun_s = time.monotonic()
    page.close()
    assert time.monotonic() - begun_s < 10.0  # not the 600 s of the pause
    connection.close()


def test_a_request_that_drips_is_cut_off(page, monkeypatch):
    monkeypatch.setattr(server, "REQUEST_WITHIN_S", 0.3)
    connection = connect(page, "GET / HTTP/1.1\r\n")
    begun_s = time.monotonic()
    answer = b""
    connection.settimeout(0.05)
    while not answer and time.monotonic() - begun_s < 20:
        try:
            connection.sendall(b"x")
            answer = connection.recv(4096)
        except TimeoutError:
            continue
    assert b"408 Request Timeout" in answer
    assert time.monotonic() - begun_s >= 0.3
    connection.close()


@pytest.mark.parametrize(
    "text", ["GET / HTTP/1.1\r\n" + "a: b\r\n" * 3000, "x" * 20000, "GET /" + "a" * 9000 + " HTTP/1.1\r\n\r\n"]
)
def test_a_head_that_is_too_large_is_refused(page, text):
    connection = connect(page)
    try:
        connection.sendall(text.encode())
        assert everything(connection).startswith(b"HTTP/1.1 431 ")
    finally:
        connection.close()


def test_a_malformed_request_is_answered_and_ends_the_connection(page):
    connection = connect(page, "NONSENSE\r\n\r\n" + GET.format("/"))
    answer = everything(connection)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"Content-Length") == 1
    connection.close()
    assert ask(page, "/events.json?since=x").status == 400
    assert ask(page, "/healthz").status == 200


def test_a_failure_of_ours_is_told_without_its_details(page, monkeypatch, caplog):
    def fail(*_: object, **__: object) -> None:
        raise ValueError("secret")

    monkeypatch.setattr(site, "status_document", fail)
    got = ask(page, "/status.json")
    assert (got.status, got.body) == (500, b"this failed on the device; its log says why\n")
    assert "secret" in caplog.text
    assert ask(page, "/healthz").status == 200


def test_connections_are_bounded_and_idle_ones_make_room(page, monkeypatch):
    monkeypatch.setattr(server, "MAX_CONNECTIONS", 4)
    busy = [connect(page, GET.format("/live/0.mjpg")) for _ in range(3)]
    wait_until(lambda: page._site.streams == 3)
    idle = connect(page, GET.format("/healthz"))
    assert b"200 OK" in idle.recv(4096)
    wait_until(lambda: page._server._idle)
    assert ask(page, "/healthz").status == 200
    assert everything(idle) == b""  # it was let go
    wait_until(lambda: page._server.connections == 3)
    busy.append(connect(page, GET.format("/live/1.mjpg")))
    wait_until(lambda: page._site.streams == 4)
    refused = ask(page, "/healthz")
    assert (refused.status, refused.headers["retry-after"]) == (503, "2")
    for connection in (*busy, idle):
        connection.close()
    wait_until(lambda: page._server.connections == 0)
    assert ask(page, "/healthz").status == 200


def test_one_address_cannot_take_every_connection(page, monkeypatch):
    monkeypatch.setattr(server, "MAX_CONNECTIONS_OF_ADDRESS", 2)
    taken = [connect(page, GET.format("/live/0.mjpg")) for _ in range(2)]
    wait_until(lambda: page._site.streams == 2)
    assert ask(page, "/healthz").status == 503
    other = socket.create_connection(("127.0.0.1", port_of(page)), source_address=("127.0.0.2", 0))
    other.sendall(GET.format("/healthz").encode())
    assert b"200 OK" in other.recv(4096)
    for connection in (*taken, other):
        connection.close()


def test_streams_are_bounded(page, monkeypatch):
    monkeypatch.setattr(site, "MAX_STREAMS", 1)
    first = connect(page, GET.format("/live/0.mjpg"))
    wait_until(lambda: page._site.streams == 1)
    got = ask(page, "/live/0.mjpg")
    assert (got.status, got.body) == (503, b"too many viewers\n")
    first.close()
    wait_until(lambda: page._site.streams == 0)


def test_a_stream_is_one_picture_after_the_other(page):
    connection = connect(page, GET.format("/live/1.mjpg"))
    wait_until(lambda: page._site.streams == 1)
    received, number = b"", 0
    while received.count(b"\r\n--picture\r\n") < 4:  # one begins it, one ends each picture
        page.write(result(number))
        page.write(replace(result(number), camera=1))
        number += 1
        received += connection.recv(65536)
    head, _, body = received.partition(b"\r\n\r\n")
    assert b"Content-Type: multipart/x-mixed-replace; boundary=picture" in head
    part = body.split(b"--picture\r\n")[1]
    part_head, _, jpeg = part.partition(b"\r\n\r\n")
    lines = dict(line.split(": ", 1) for line in part_head.decode().split("\r\n"))
    assert lines["Content-Type"] == "image/jpeg"
    assert int(lines["Content-Length"]) == len(jpeg.removesuffix(b"\r\n"))
    assert 0 <= int(lines["X-Picture-Age-Ms"]) < 60_000
    connection.close()


def test_a_viewer_that_leaves_is_noticed_although_no_picture_comes(page, monkeypatch):
    monkeypatch.setattr(live_stream, "NEXT_PICTURE_WITHIN_S", 0.05)
    viewer = connect(page, GET.format("/live/0.mjpg"))
    wait_until(lambda: page._site.streams == 1)
    viewer.close()
    wait_until(lambda: page._site.streams == 0 and page._server.connections == 0)


def test_snapshots_wait_for_the_next_picture_but_not_for_ever(page, monkeypatch):
    monkeypatch.setattr(site, "FIRST_PICTURE_WITHIN_S", 0.05)
    monkeypatch.setattr(site, "NEXT_PICTURE_WITHIN_S", 0.05)
    assert ask(page, "/snapshot/0.jpg").status == 503
    page.write(result())
    first = ask(page, "/snapshot/0.jpg")
    assert (first.status, first.headers["x-picture-number"], first.headers["content-type"]) == (200, "1", "image/jpeg")
    assert ask(page, "/snapshot/0.jpg?after=1").status == 204
    assert ask(page, "/snapshot/0.jpg?after=99").headers["x-picture-number"] == "1"
    page.write(result(1))
    assert ask(page, "/snapshot/0.jpg?after=1").headers["x-picture-number"] == "2"
    assert ask(page, "/snapshot/1.jpg?after=0").status == 204  # the other camera has shown nothing


def test_the_end_comes_within_a_second_and_leaves_nothing_behind():
    before, threads = descriptors(), web_threads()
    page = open_page(healthy_board("a"))
    page.write(result())
    connections = [connect(page, GET.format("/live/0.mjpg")) for _ in range(10)]
    connections += [connect(page, "GET / HTTP/1.1\r\n"), connect(page, GET.format("/healthz")), connect(page)]
    wait_until(lambda: page._server.connections == 13 and page._site.streams == 10)
    begun_s = time.monotonic()
    page.close()
    page.close()
    assert time.monotonic() - begun_s < STOP_WITHIN_S
    for connection in connections:
        connection.close()
    wait_until(lambda: web_threads() == threads)
    assert descriptors() == before
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port_of(page)), timeout=5)


def test_hundreds_of_requests_leave_no_thread_and_no_descriptor(page):
    ask(page, "/healthz")
    wait_until(lambda: page._server.connections == 0)
    before, threads = descriptors(), web_threads()
    for number in range(200):
        connection = connect(page, GET.format("/status.json") if number % 2 else "GET /half")
        if number % 3:
            connection.settimeout(0.05)
            with contextlib.suppress(TimeoutError):
                connection.recv(1)
        connection.close()
    wait_until(lambda: page._server.connections == 0)
    wait_until(lambda: (descriptors(), web_threads()) == (before, threads))


def test_accepting_goes_on_after_the_system_had_no_descriptor(page, monkeypatch, caplog):
    accept, failures = socket.socket.accept, []

    def fail_once(self):
        if not failures:
            failures.append(1)
            raise OSError(24, os.strerror(24))
        return accept(self)

    monkeypatch.setattr(socket.socket, "accept", fail_once)
    assert ask(page, "/healthz").status == 200
    assert "Too many open files" in caplog.text
