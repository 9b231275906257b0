"""The status of a run is written about twice a second, also while no frame comes, and tells the truth of the last seconds."""

from __future__ import annotations

import os
import threading
import time
from types import SimpleNamespace

import psutil
import pytest

import cvforge_edge.status_writer as status_writer
from cvforge_edge.events import Event
from cvforge_edge.latency import LatencyRecorder
from cvforge_edge.status import RunStatus, StatusBoard
from cvforge_edge.status_writer import StatusWriter, resident_memory_mb
from edge.mjpeg import MjpegServer
from edge.test_pipeline import ListSink, ListSource, SilentCamera, run


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def monotonic(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(status_writer, "time", made)
    return made


def camera(name: str, *, state: str = "live", dropped: int = 0, reconnects: int = 0) -> SimpleNamespace:
    return SimpleNamespace(name=name, state=state, dropped=dropped, reconnects=reconnects, ended=False)


class Inboxed:
    """The part of an inbox that the writer asks."""

    def __init__(self, *sources) -> None:
        self.sources = sources

    @property
    def dropped(self) -> tuple[int, ...]:
        return tuple(source.dropped for source in self.sources)

    @property
    def waiting_since_s(self) -> tuple[float | None, ...]:
        return tuple(getattr(source, "waiting_since_s", None) for source in self.sources)


def result(captured_s: float, events=()) -> SimpleNamespace:
    return SimpleNamespace(frame=SimpleNamespace(captured_s=captured_s), events=events)


def test_frames_a_second_are_those_of_the_last_five_seconds(clock):
    board = StatusBoard(RunStatus(model="cells", version=3))
    writer = StatusWriter(board, inbox=Inboxed(camera("a"), camera("b")), sinks=[], recorder=LatencyRecorder())
    for step in range(1, 31):  # ten seconds at 10 frames/s, then five at 2
        clock.now_s = 100.0 + step / 2
        for _ in range(5 if step <= 20 else 1):
            writer.note(0, result(clock.now_s - 0.04), done_s=clock.now_s)
        writer.write_if_due()
        if step == 20:
            assert board.snapshot().cameras[0].fps == pytest.approx(10.0)
    status = board.snapshot()
    assert (status.model, status.version, status.phase, status.written_s) == ("cells", 3, "running", 115.0)
    first, second = status.cameras
    assert (first.name, first.frames, first.fps) == ("a", 110, pytest.approx(2.0))
    assert (first.age_ms, first.result_s, first.captured_s) == (pytest.approx(40.0), 115.0, pytest.approx(114.96))
    assert (second.frames, second.fps, second.age_ms, second.result_s) == (0, 0.0, None, None)


def test_board_is_written_twice_a_second_however_often_somebody_asks(clock):
    board = StatusBoard(RunStatus())
    writes = []
    board.update = lambda **changes: writes.append(changes["written_s"])
    writer = StatusWriter(board, inbox=Inboxed(camera("a")), sinks=[], recorder=LatencyRecorder())
    for millisecond in range(2001):
        clock.now_s = 100.0 + millisecond / 1000
        writer.write_if_due()
    assert writes == [pytest.approx(100.0 + half / 2) for half in range(5)]


def test_state_of_a_camera_and_its_beginning_are_told(clock):
    source = camera("a", state="connecting", dropped=7, reconnects=2)
    board = StatusBoard(RunStatus())
    writer = StatusWriter(board, inbox=Inboxed(source), sinks=[], recorder=LatencyRecorder())
    seen = []
    for state in ("connecting", "live", "live", "lost", "live"):
        clock.now_s += 1.0
        source.state = state
        writer.write_if_due()
        shown = board.snapshot().cameras[0]
        seen.append((shown.state, shown.state_since_s))
    assert seen == [("connecting", 100.0), ("live", 102.0), ("live", 102.0), ("lost", 104.0), ("live", 105.0)]
    assert (shown.dropped, shown.reconnects) == (7, 2)
    source.ended = True
    writer.close()
    status = board.snapshot()
    assert (status.cameras[0].state, status.phase) == ("closed", "ended")


def test_events_outputs_and_latency_are_on_the_board(clock):
    recorder, board = LatencyRecorder(), StatusBoard(RunStatus())
    sinks = [SimpleNamespace(summary=lambda: "out.jsonl: 4 lines"), SimpleNamespace(summary=lambda: "")]
    writer = StatusWriter(board, inbox=Inboxed(camera("a")), sinks=sinks, recorder=recorder)
    for duration_ms in range(1, 1001):
        recorder.add("predict", duration_ms / 1000)
    event = Event("door", "line_crossed", "a", 3, 0.1, None)
    writer.note(0, result(99.0, events=(event, event)), done_s=100.0)
    clock.now_s += 1.0
    writer.write_if_due()
    status = board.snapshot()
    assert (status.events, status.outputs) == (2, ("out.jsonl: 4 lines",))
    latency = status.latency["predict"]  # at 1 frame/s the newest 20 of 1 to 1000 ms
    assert (latency.p50_ms, latency.p95_ms, latency.p99_ms) == (
        pytest.approx(990),
        pytest.approx(999),
        pytest.approx(1000),
    )
    assert (latency.count, latency.total_s) == (1000, pytest.approx(500.5))


def test_memory_is_what_the_system_says_and_none_where_it_does_not(monkeypatch, tmp_path):
    assert resident_memory_mb() == pytest.approx(psutil.Process(os.getpid()).memory_info().rss / 1e6, rel=0.1)
    monkeypatch.setattr(status_writer, "PROC_STATUS", tmp_path / "absent")
    assert resident_memory_mb() is None


def test_pipeline_writes_the_board_for_a_file_and_ends_it():
    board = StatusBoard(RunStatus())
    seen = []
    run(ListSource(range(50)), [ListSink()], board=board, on_frame=lambda _: seen.append(board.snapshot().phase))
    status = board.snapshot()
    assert set(seen) == {"running"}
    assert (status.phase, status.cameras[0].name, status.cameras[0].frames) == ("ended", "list", 50)
    assert (status.cameras[0].state, status.latency["predict"].count) == ("closed", 50)


def test_pipeline_writes_the_board_while_a_camera_is_silent():
    board, stop, written = StatusBoard(RunStatus()), threading.Event(), []
    source = SilentCamera([1, 2])

    def look() -> None:
        for _ in range(12):
            time.sleep(0.1)
            written.append(board.snapshot().written_s)
        stop.set()

    watcher = threading.Thread(target=look)
    watcher.start()
    run(source, [ListSink()], stop=stop, board=board)
    watcher.join()
    assert len(set(written)) >= 2


def test_live_source_counts_how_often_it_came_back():
    from cvforge_edge.camera import open_source

    server = MjpegServer()
    with open_source(f"http://127.0.0.1:{server.port}/stream") as source:
        assert source.read(timeout_s=10) is not None
        assert source.reconnects == 0
        server.close()
        deadline = time.monotonic() + 10
        while source.state != "lost" and time.monotonic() < deadline:
            source.read(timeout_s=0.05)
        server = MjpegServer(server.port)
        while source.state != "live" and time.monotonic() < deadline:
            source.read(timeout_s=0.05)
        assert (source.state, source.reconnects) == ("live", 1)
    server.close()
