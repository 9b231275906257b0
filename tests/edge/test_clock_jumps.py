"""The clock of the device is set by years, forwards and backwards: nothing stalls, nothing is lost, nobody is logged out."""

from __future__ import annotations

import dataclasses
import itertools
import json
import random
import threading
import time

import numpy as np
import pytest

from cvforge_edge.camera import SourceSettings, open_source
from cvforge_edge.events import Event
from cvforge_edge.pipeline import run_pipeline
from cvforge_edge.sinks import webhook as webhook_module
from cvforge_edge.sinks.content import Content
from cvforge_edge.sinks.csv_rows import CsvRows
from cvforge_edge.sinks.disk_queue import DiskQueue
from cvforge_edge.sinks.jsonl import JsonLines
from cvforge_edge.sinks.outgoing import OutgoingSpec
from cvforge_edge.sinks.rotation import Rotation
from cvforge_edge.sinks.throttle import Throttle
from cvforge_edge.sinks.video import VideoSink
from cvforge_edge.sinks.webhook import Webhook
from cvforge_edge.sinks.webhook_request import _meaning
from cvforge_edge.sinks.webhook_settings import WebhookSettings
from cvforge_edge.sources.cadence import Cadence
from cvforge_edge.status import RunStatus, StatusBoard
from cvforge_edge.watchdog import Limits, Watchdog
from edge.hook_server import HookServer
from edge.mjpeg import MjpegServer
from edge.sink_results import result
from edge.test_pipeline import WAIT_S, GreyPredictor
from edge.web_client import ask, open_page, wait_until

YEAR_S = 365 * 86400.0
TOKEN = "a-token-of-29-characters-long"
FRAMES = 60


@pytest.fixture
def jumps(monkeypatch):
    """Each look at the clock finds it set by years; it never is before 1970."""
    real, chance, seen = time.time, random.Random(0), []

    def jumping() -> float:
        seen.append(max(1.0, real() + chance.uniform(-60, 40) * YEAR_S))
        return seen[-1]

    monkeypatch.setattr(time, "time", jumping)
    return seen


class Crossings:
    """An event with every fifth result."""

    def apply(self, of):
        if of.frame.index % 5:
            return of
        return dataclasses.replace(
            of, events=(Event("gate", "line_crossed", of.frame.source, of.frame.index, 0.0, None),)
        )


def test_a_camera_is_live_lost_and_back_by_its_own_time(jumps):
    server = MjpegServer()
    with open_source(f"http://127.0.0.1:{server.port}/") as camera:
        frames, deadline_s = [], time.monotonic() + WAIT_S
        while len(frames) < 20 and time.monotonic() < deadline_s:
            frame = camera.read(timeout_s=1.0)
            frames += [] if frame is None else [frame]
        assert (len(frames), camera.state, camera.reconnects) == (20, "live", 0)
        server.close()
        wait_until(lambda: camera.watch() or camera.state == "lost")
        server = MjpegServer(server.port)
        wait_until(lambda: camera.read(timeout_s=0.05) is not None)
        assert (camera.state, camera.reconnects) == ("live", 1)
    server.close()
    for before, after in itertools.pairwise(frames):
        assert before.index < after.index
        assert before.captured_s < after.captured_s
        assert 0 < after.time_s - before.time_s < WAIT_S
    assert max(jumps) - min(jumps) > 10 * YEAR_S


def test_a_rate_is_kept(jumps):
    throttle, passed = Throttle(10.0), []
    for index in range(100):  # 30 frames/s
        of = result(index)
        frame = dataclasses.replace(of.frame, captured_s=index / 30, unix_time_s=time.time())
        passed += [index] if throttle.passes(dataclasses.replace(of, frame=frame)) else []
    assert len(passed) in (34, 35)
    with open_source("test:64x48@200", settings=SourceSettings(cadence=Cadence(max_fps=20))) as source:
        times_s = [source.read(timeout_s=WAIT_S).captured_s for _ in range(10)]
    assert times_s[-1] - times_s[0] > 8 / 20 / 2


def test_a_queue_on_disk_keeps_its_order_over_restarts(jumps, tmp_path):
    for start in range(0, 30, 10):
        queue = DiskQueue(tmp_path, limit_bytes=1_000_000)
        for number in range(start, start + 10):
            queue.append(f"{number}".encode())
        queue.close()
    queue, read = DiskQueue(tmp_path, limit_bytes=1_000_000), []
    while (record := queue.read()) is not None:
        read.append(int(record.body))
        queue.acknowledge(record.number)
    queue.close()
    assert read == list(range(30))
    assert queue.dropped == 0


def test_a_server_that_asks_for_patience_is_understood_by_its_own_clock(jumps):
    dates = {"date": "Sun, 01 Jan 2034 00:00:00 GMT"}
    assert _meaning(503, "busy", "Sun, 01 Jan 2034 00:00:15 GMT", **dates).retry_after_s == 15.0
    assert _meaning(503, "busy", "15", date=None).retry_after_s == 15.0


def test_a_whole_run_loses_nothing_and_its_page_and_watchdog_stay_calm(jumps, tmp_path, monkeypatch):
    monkeypatch.setattr(webhook_module, "FIRST_RETRY_S", 0.01)
    server, hooks = MjpegServer(image_bgr=np.full((48, 64, 3), 120, np.uint8)), HookServer(503, 503)
    board, stop = StatusBoard(RunStatus(started_unix_s=time.time(), started_s=time.monotonic())), threading.Event()
    page = open_page(board, token=TOKEN)
    form = {"content_type": "application/x-www-form-urlencoded"}
    cookie = ask(page, "/login", method="POST", body=f"token={TOKEN}", **form).headers["set-cookie"].split(";")[0]
    spec = OutgoingSpec(Content.EVENTS, tmp_path / "queue", limit_bytes=1_000_000)
    hook = Webhook(WebhookSettings("127.0.0.1", hooks.port, "/hook"), spec)
    video = VideoSink(tmp_path / "out.mp4", fps=10.0, rotation=Rotation(30_000, keep=99))
    files = [
        JsonLines(str(tmp_path / "out.jsonl"), rotation=Rotation(2000, keep=99)),
        CsvRows(str(tmp_path / "out.csv")),
    ]
    seen = []

    def look(written: int) -> None:
        if written % 10 == 0:
            seen.append((ask(page, "/healthz", cookie=cookie).status, board.snapshot().cameras[0].fps))

    with open_source(f"http://127.0.0.1:{server.port}/") as camera:
        limits = Limits(inference=WAIT_S, write=WAIT_S, silence=WAIT_S)
        with Watchdog(board, limits, stop=stop, end_process=lambda code: stop.set()) as watchdog:
            summary = run_pipeline(
                [camera],
                [GreyPredictor()],
                sinks=[*files, video, hook, page],
                stop=stop,
                steps=[[Crossings()]],
                max_frames=FRAMES,
                on_frame=look,
                board=board,
            )
    server.close()
    hooks.close()
    assert watchdog.failure is None
    assert summary.frames == FRAMES
    assert [status for status, _ in seen] == [200] * (FRAMES // 10)
    assert all(0 <= fps < 1000 for _, fps in seen)
    parts = sorted(
        tmp_path.glob("out.jsonl*"), key=lambda path: -int(path.suffix[1:]) if path.suffix != ".jsonl" else 0
    )
    lines = [json.loads(line) for path in parts for line in path.read_text().splitlines()]
    assert len(parts) > 2
    assert len(lines) == FRAMES
    numbers = [line["frame"] for line in lines]
    assert numbers == sorted(set(numbers))
    assert len((tmp_path / "out.csv").read_text().splitlines()) >= FRAMES + 1
    crossed = [number for number in numbers if number % 5 == 0]
    taken = [request.value["frame"] for request in hooks.requests]
    waiting = int(hook.summary().partition(" waiting")[0].rpartition(" ")[2])
    assert len(set(taken)) + waiting >= len(crossed)
    assert list(dict.fromkeys(taken)) == crossed[: len(set(taken))]
    assert "0 dropped" in hook.summary()
