"""The watchdog ends what is not well any more, and tells systemd while it is well: over a real socket, in its protocol."""

from __future__ import annotations

import math
import socket
import threading
import time
from types import SimpleNamespace

import pytest

import cvforge_edge.watchdog as watchdog_module
from cvforge_edge.errors import WatchdogError
from cvforge_edge.reload import Reloader
from cvforge_edge.status import CameraStatus, RunStatus, StatusBoard
from cvforge_edge.systemd import notify, notify_reloading, watchdog_interval_s
from cvforge_edge.watchdog import Limits, Watchdog
from edge.web_client import wait_until

WAIT_S = 10.0


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(watchdog_module, "LOOK_EVERY_S", 0.02)
    monkeypatch.setattr(watchdog_module, "STOP_WITHIN_S", 0.3)
    for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def systemd(monkeypatch, tmp_path):
    """A socket that listens as systemd does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(WAIT_S)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield listener


def running(*, result_ago_s: float = 0.0, written_ago_s: float = 0.0, memory_mb: float = 100.0) -> StatusBoard:
    now_s = time.monotonic()
    camera = CameraStatus("door", state="stalled", frames=3, fps=5.0, result_s=now_s - result_ago_s)
    written_s = now_s - written_ago_s
    return StatusBoard(RunStatus(phase="running", cameras=(camera,), memory_mb=memory_mb, written_s=written_s))


def ended_codes(
    board: StatusBoard, limits: Limits, *, for_s: float = 0.3
) -> tuple[threading.Event, list[int], Watchdog]:
    stop, codes = threading.Event(), []
    with Watchdog(board, limits, stop=stop, end_process=codes.append) as dog:
        stop.wait(for_s)
    return stop, codes, dog


@pytest.mark.parametrize(
    ("now", "limits", "reason"),
    [
        ({"memory_mb": 512.0}, Limits(memory=500), r"512 MB of memory \(limit memory=500\)"),
        ({"result_ago_s": 9.0}, Limits(silence=5), r"no result for 9 s \(limit silence=5\): door is stalled"),
    ],
)
def test_a_passed_limit_ends_the_run_in_order_with_its_reason(now, limits, reason, caplog):
    stop, codes, dog = ended_codes(running(**now), limits)
    assert stop.is_set()
    assert codes == []
    with pytest.raises(WatchdogError, match=reason) as failed:
        dog.raise_failure()
    assert failed.value.exit_code == 13
    assert "started anew" in caplog.text


def test_within_the_limits_nothing_happens():
    stop, codes, dog = ended_codes(running(), Limits(silence=5, memory=500))
    assert not stop.is_set()
    assert codes == []
    dog.raise_failure()


def test_a_run_that_does_not_end_when_asked_is_ended(capfd):
    board, stop, codes = running(memory_mb=999), threading.Event(), []
    with Watchdog(board, Limits(memory=500), stop=stop, end_process=codes.append) as dog:
        dog._thread.join(WAIT_S)
    assert codes == [13]
    assert "in _run" in capfd.readouterr().err  # what every thread was doing


def test_results_that_cannot_be_written_end_the_process_at_once():
    stop, codes = threading.Event(), []
    with Watchdog(running(written_ago_s=61), Limits(), stop=stop, end_process=codes.append) as dog:
        dog._thread.join(WAIT_S)
    assert codes == [13]


def test_a_run_that_has_not_begun_is_not_silent():
    board = StatusBoard(RunStatus(phase="starting"))
    stop, codes, _ = ended_codes(board, Limits(silence=0.01, write=0.01))
    assert (stop.is_set(), codes) == (False, [])


def test_systemd_hears_ready_status_alive_and_stopping(systemd, monkeypatch):
    monkeypatch.setenv("WATCHDOG_USEC", "40000")
    with Watchdog(running(), Limits(), stop=threading.Event(), end_process=lambda _: None):
        first = systemd.recv(4096).decode().split("\n")
        second = systemd.recv(4096).decode().split("\n")
    assert first == ["STATUS=door stalled 5.0 frames/s", "READY=1", "WATCHDOG=1"]
    assert second == ["STATUS=door stalled 5.0 frames/s", "WATCHDOG=1"]
    last = ""
    while "STOPPING=1" not in last:
        last = systemd.recv(4096).decode()


def test_systemd_hears_nothing_of_a_run_that_hangs(systemd, monkeypatch):
    monkeypatch.setenv("WATCHDOG_USEC", "40000")
    with Watchdog(running(written_ago_s=61), Limits(), stop=threading.Event(), end_process=lambda _: None) as dog:
        dog._thread.join(WAIT_S)
    assert systemd.recv(4096) == b"STOPPING=1"


def test_an_abstract_socket_and_a_reload_are_spoken_to(monkeypatch):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind("\0cvforge-test-notify")
        listener.settimeout(WAIT_S)
        monkeypatch.setenv("NOTIFY_SOCKET", "@cvforge-test-notify")
        before_us = time.monotonic_ns() // 1000
        assert notify_reloading()
        state, stamp = listener.recv(4096).decode().split("\n")
    assert state == "RELOADING=1"
    assert before_us <= int(stamp.partition("=")[2]) <= time.monotonic_ns() // 1000


def test_no_or_a_vanished_systemd_is_no_error(monkeypatch, tmp_path):
    assert not notify("READY=1")
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))
    assert not notify("READY=1")


@pytest.mark.parametrize(
    ("microseconds", "process", "expected"),
    [("30000000", None, 15.0), ("30000000", "1", None), ("0", None, None), ("x", None, None), (None, None, None)],
)
def test_watchdog_interval_is_half_of_what_systemd_allows(monkeypatch, microseconds, process, expected):
    for name, value in (("WATCHDOG_USEC", microseconds), ("WATCHDOG_PID", process)):
        if value is not None:
            monkeypatch.setenv(name, value)
    assert watchdog_interval_s() == expected


def test_limits_are_lenient_by_default():
    assert Limits() == Limits(inference=30.0, write=60.0, silence=math.inf, memory=math.inf)


def test_a_reload_before_the_cameras_were_tried_does_not_say_that_all_is_ready(systemd):
    done = threading.Event()

    def load():
        done.set()
        return [SimpleNamespace(manifest=SimpleNamespace(name="m", version=2), close=lambda: None)]

    begun = False
    reloader = Reloader(load, is_ready=lambda: begun)
    reloader.request()
    assert done.wait(WAIT_S)
    wait_until(lambda: reloader.take() is not None)
    systemd.setblocking(False)
    with pytest.raises(BlockingIOError):
        systemd.recv(4096)
    systemd.settimeout(WAIT_S)
    begun = True
    reloader.request()
    heard = [systemd.recv(4096).decode().partition("\n")[0] for _ in range(2)]
    assert heard == ["RELOADING=1", "READY=1"]
