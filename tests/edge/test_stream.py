"""A server that is not there is noticed before FFmpeg waits for it, and what FFmpeg has read ahead is not shown."""

from __future__ import annotations

import contextlib
import socket
import threading

import cv2
import numpy as np
import pytest

from cvforge_edge.camera import open_source
from cvforge_edge.errors import SourceError
from cvforge_edge.sources import stream
from cvforge_edge.sources.reachable import unreachable_reason
from cvforge_edge.sources.stream import StreamCapture


@contextlib.contextmanager
def server(answer: bytes | None):
    """Listens on loopback; answers a connection with these bytes, ends it where there are none, or keeps silent (None)."""
    questions, ended = [], threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                questions.append(connection.recv(1000))
                if answer is None:
                    ended.wait(20)
                else:
                    connection.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1], questions
        ended.set()
        thread.join()


def test_server_that_answers_is_there_and_never_sees_the_password():
    with server(b"RTSP/1.0 401 Unauthorized\r\n\r\n") as (port, questions):
        assert unreachable_reason(f"rtsp://admin:secret@127.0.0.1:{port}/main") is None
    assert questions[0].startswith(f"OPTIONS rtsp://127.0.0.1:{port}/ RTSP/1.0\r\nCSeq: 1\r\n".encode())
    assert b"secret" not in questions[0]


@pytest.mark.parametrize(("answer", "words"), [(None, "does not answer within 0.2 s"), (b"", "without an answer")])
def test_server_that_accepts_and_says_nothing_is_not_there(answer, words):
    with server(answer) as (port, _):
        assert words in unreachable_reason(f"rtsp://127.0.0.1:{port}/main", timeout_s=0.2)


@pytest.mark.parametrize("scheme", ["rtsp", "http", "rtmp", "rtsps"])
def test_closed_port_is_told_at_once(scheme):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert unreachable_reason(f"{scheme}://127.0.0.1:{port}/x") == f"127.0.0.1:{port}: Connection refused"


@pytest.mark.parametrize("address", ["udp://239.0.0.1:1234", "http://", "tcp://127.0.0.1:9"])
def test_what_cannot_be_asked_is_left_to_ffmpeg(address):
    assert unreachable_reason(address) is None


def test_port_that_is_none_is_told():
    assert "port (0 to 65535)" in unreachable_reason("rtsp://camera:99999/x")


def test_first_connection_says_why_it_failed_and_how_to_check():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(SourceError, match="Connection refused; check address, user") as caught:
        open_source(f"rtsp://admin:secret@127.0.0.1:{port}/x")
    assert "secret" not in str(caught.value)
    assert caught.value.exit_code == 8


class Clock:
    """Time passes only while the stream is waited for."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def monotonic(self) -> float:
        return self.now_s


class ReadAhead:
    """A stream of 20 frames/s: its first pictures wait already, the others come at their time."""

    def __init__(self, clock: Clock, waits_s) -> None:
        self.clock, self.waits_s, self.number = clock, list(waits_s), -1

    def get(self, property_id: int) -> float:
        return 20.0 if property_id == cv2.CAP_PROP_FPS else 0.0

    def grab(self) -> bool:
        if not self.waits_s:
            return False
        self.clock.now_s += self.waits_s.pop(0)
        self.number += 1
        return True

    def retrieve(self):
        return True, np.full((2, 2, 3), self.number, np.uint8)


def shown(waits_s, monkeypatch) -> list[int]:
    clock = Clock()
    monkeypatch.setattr(stream, "time", clock)
    capture = StreamCapture(ReadAhead(clock, waits_s), lost_after_s=5.0)
    numbers = []
    while capture.grab():
        numbers.append(int(capture.retrieve()[1][0, 0, 0]))
    return numbers


def test_pictures_that_waited_when_the_stream_was_opened_are_passed_over(monkeypatch):
    waits_s = [0.002] * 30 + [0.04] + [0.05, 0.001, 0.099, 0.05]
    assert shown(waits_s, monkeypatch) == [31, 32, 33, 34]


def test_one_late_picture_of_a_backlog_does_not_end_it(monkeypatch):
    assert shown([*[0.001] * 10, 0.04, *[0.001] * 10, 0.05, 0.05, 0.05], monkeypatch) == [22, 23]


def test_stream_that_sends_faster_than_it_says_is_shown_after_a_second(monkeypatch):
    assert shown([0.01] * 150, monkeypatch)[0] == pytest.approx(100, abs=1)


def test_stream_that_ends_in_what_was_read_ahead_shows_nothing(monkeypatch):
    assert shown([0.001] * 5, monkeypatch) == []


STEADY_S = [0.002, 0.05, 0.05, 0.05]


def test_burst_after_a_pause_is_passed_over_because_its_pictures_are_old(monkeypatch):
    assert shown([*STEADY_S, 3.0, *[0.003] * 40, 0.05, 0.05], monkeypatch) == [2, 3, 46]


def test_pause_without_a_burst_costs_a_few_pictures(monkeypatch):
    assert shown([*STEADY_S, 3.0, 0.05, 0.05, 0.05, 0.05], monkeypatch) == [2, 3, 7, 8]


def test_slow_stream_has_no_pauses(monkeypatch):
    assert shown([0.002, 2.0, 2.0, 2.1, 1.9], monkeypatch) == [1, 2, 3, 4]


def test_picture_that_the_decoder_gives_when_the_connection_is_gone_is_not_shown(monkeypatch):
    assert shown([*STEADY_S, 5.01, 0.05], monkeypatch) == [2, 3]
