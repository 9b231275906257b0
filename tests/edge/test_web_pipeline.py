"""Whoever looks at the page, however slowly, the pipeline does not wait; and `run_camera.py --web` shows a run."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

import cvforge_edge.web.server as server
from cvforge_edge.frame import Frame
from cvforge_edge.manifest import read_manifest, write_manifest
from cvforge_edge.pipeline import run_pipeline
from cvforge_edge.status import RunStatus, StatusBoard
from edge.mjpeg import MjpegServer
from edge.test_pipeline import GreyPredictor, ListSource
from edge.test_run_camera import EDGE, run_camera
from edge.web_client import ask, connect, open_page, wait_until

GET = "GET {} HTTP/1.1\r\nHost: localhost\r\n\r\n"


class NoiseCamera(ListSource):
    """Pictures that compress badly, for ever."""

    live = True

    def __init__(self, name: str = "noise", *, size_hw=(360, 480)) -> None:
        super().__init__([])
        self.name = name
        self.images = [np.random.default_rng(seed).integers(0, 255, (*size_hw, 3), np.uint8) for seed in range(2)]

    def read(self, *, timeout_s: float):
        time.sleep(0.005)
        self.read_count += 1
        return Frame(self.images[self.read_count % 2], self.read_count, 0.0, time.time(), self.name, time.monotonic())


@contextlib.contextmanager
def running(page, board, *, cameras=1, seen=None):
    """The pipeline runs on a thread of its own while inside."""
    stop = threading.Event()
    sources = [NoiseCamera(f"noise {number}") for number in range(cameras)]
    options = {"sinks": [page], "stop": stop, "board": board, "on_frame": seen}
    thread = threading.Thread(target=run_pipeline, args=(sources, [GreyPredictor()]), kwargs=options)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def test_viewers_that_take_nothing_do_not_hold_up_the_pipeline(monkeypatch):
    monkeypatch.setattr(server, "SEND_WITHIN_S", 600.0)
    board, written = StatusBoard(RunStatus()), []
    page = open_page(board)
    with running(page, board, seen=written.append):
        wait_until(lambda: written)
        viewers = []
        for _ in range(10):
            viewer = socket.socket()
            viewer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            viewer.connect(("127.0.0.1", int(page.url.rstrip("/").rpartition(":")[2])))
            viewer.sendall(GET.format("/live/0.mjpg").encode())
            viewers.append(viewer)
        wait_until(lambda: page._site.streams == 10)
        wait_until(lambda: page._site.encoded >= 1)
        before = written[-1]
        wait_until(lambda: written[-1] > before + 100)
        assert page._site.streams == 10  # all of them are stuck in their first pictures
        begun_s = time.monotonic()
    assert time.monotonic() - begun_s < 10.0  # not the 600 s that a viewer may take
    for viewer in viewers:
        viewer.close()


def test_a_slow_viewer_is_dropped_after_a_while(monkeypatch):
    monkeypatch.setattr(server, "SEND_WITHIN_S", 0.2)
    board = StatusBoard(RunStatus())
    page = open_page(board)
    with running(page, board):
        viewer = connect(page, GET.format("/live/0.mjpg"))
        wait_until(lambda: page._site.streams == 1)
        wait_until(lambda: page._site.streams == 0)
        viewer.close()


def test_fifty_viewers_see_two_cameras_move_and_the_run_goes_on():
    board, written = StatusBoard(RunStatus()), []
    page = open_page(board, cameras=2)
    with running(page, board, cameras=2, seen=written.append):
        viewers = [connect(page, GET.format(f"/live/{number % 2}.mjpg")) for number in range(50)]
        pictures = [0] * 50
        for _ in range(3):
            for number, viewer in enumerate(viewers):
                received = b""
                while b"\xff\xd8" not in received:
                    received = received[-1:] + viewer.recv(1 << 20)
                pictures[number] += 1
        assert pictures == [3] * 50
        assert page._site.streams == 50
        before = written[-1]
        wait_until(lambda: written[-1] > before)
        for viewer in viewers:
            viewer.close()
        wait_until(lambda: page._site.streams == 0)


def test_nothing_is_compressed_while_nobody_looks():
    board, written = StatusBoard(RunStatus()), []
    page = open_page(board)
    with running(page, board, seen=written.append):
        wait_until(lambda: written and written[-1] > 50)
        ask(page, "/status.json")
        ask(page, "/metrics")
        assert page._site.encoded == 0


def test_the_page_tells_of_a_real_run():
    board = StatusBoard(RunStatus(model="grey", version=1, started_unix_s=1.0, started_s=time.monotonic()))
    page = open_page(board, cameras=2)
    with running(page, board, cameras=2):
        wait_until(lambda: json.loads(ask(page, "/status.json").body)["cameras"])
        wait_until(
            lambda: min(camera["frames"] for camera in json.loads(ask(page, "/status.json").body)["cameras"]) > 5
        )
        status = json.loads(ask(page, "/status.json").body)
        assert [camera["name"] for camera in status["cameras"]] == ["noise 0", "noise 1"]
        assert (status["phase"], status["problem"], status["model"]) == ("running", None, "grey")
        assert status["memory_mb"] > 10
        assert set(status["latency_ms"]) == {"queue", "wait", "predict", "write", "age"}
        assert "web page http://127.0.0.1" in status["outputs"][0]
        families = {f.name for f in text_string_to_metric_families(ask(page, "/metrics").body.decode())}
        assert families >= {"cvforge_frames", "cvforge_stage_duration_seconds", "process_resident_memory_bytes"}
        assert ask(page, "/healthz").status == 200


@pytest.fixture
def camera():
    server = MjpegServer()
    yield f"http://127.0.0.1:{server.port}/stream"
    server.close()


def page_line(process) -> str:
    for line in process.stderr:
        if line.startswith("web page: "):
            return line.removeprefix("web page: ").strip()
    raise AssertionError("no line about the page")


def test_the_command_serves_the_page_and_a_viewer_does_not_keep_it_from_ending(make_bundle, camera, tmp_path):
    bundle = make_bundle("detector", formats=("tflite",))
    command = [
        sys.executable,
        "-I",
        EDGE / "run_camera.py",
        "--bundle",
        bundle,
        "--source",
        camera,
        "--web",
        "127.0.0.1:0",
    ]
    with subprocess.Popen(list(map(str, command)), cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        host = re.fullmatch(r"http://(127\.0\.0\.1:\d+)/", page_line(process))[1]
        connection = http.client.HTTPConnection(host, timeout=30)
        connection.request("GET", "/live/0.mjpg")
        stream = connection.getresponse()
        assert b"--picture" in stream.read(100)
        other = http.client.HTTPConnection(host, timeout=30)
        other.request("GET", "/status.json")
        status = json.loads(other.getresponse().read())
        assert (status["model"], status["version"], status["backend"]) == (
            "tiny-detector",
            1,
            "litert, model_fp32.tflite",
        )
        assert status["cameras"][0]["name"] == camera
        other.close()
        begun_s = time.monotonic()
        process.send_signal(signal.SIGTERM)
        code = process.wait(30)
        # A stream has no end and an idle connection 15 s; the second itself is held where no process has to end.
        assert time.monotonic() - begun_s < 5.0
        stream.close()
        connection.close()
    assert code == 0


def test_the_page_names_the_version_that_was_loaded_under_way(make_bundle, camera, tmp_path):
    bundle = make_bundle("detector", formats=("tflite",))
    arguments = ["--bundle", bundle, "--source", camera, "--web", "127.0.0.1:0"]
    command = [sys.executable, "-I", EDGE / "run_camera.py", *arguments]
    with subprocess.Popen(list(map(str, command)), cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        host = re.fullmatch(r"http://(127\.0\.0\.1:\d+)/", page_line(process))[1]

        def version() -> int:
            connection = http.client.HTTPConnection(host, timeout=30)
            connection.request("GET", "/status.json")
            status = json.loads(connection.getresponse().read())
            connection.close()
            return status["version"] if status["cameras"] and status["cameras"][0]["frames"] else 0

        wait_until(lambda: version() == 1)
        write_manifest(replace(read_manifest(bundle), version=2), bundle)
        process.send_signal(signal.SIGHUP)
        wait_until(lambda: version() == 2)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)


def test_the_command_makes_a_token_for_the_network_and_prints_it_also_when_quiet(make_bundle, camera, tmp_path):
    bundle = make_bundle("detector", formats=("tflite",))
    arguments = ["--bundle", bundle, "--source", camera, "--web", "0.0.0.0:0", "--quiet", "--log", "log.txt"]
    command = [sys.executable, "-I", EDGE / "run_camera.py", *arguments]
    with subprocess.Popen(list(map(str, command)), cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        port, token = re.fullmatch(r"http://[\d.]+:(\d+)/login#([\w-]{22})", page_line(process)).groups()
        for header, status in ((None, 401), (f"Bearer {token}", 200)):
            connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=30)
            connection.request("GET", "/status.json", headers={"Authorization": header} if header else {})
            assert connection.getresponse().status == status
            connection.close()

        def phase() -> str:
            connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=30)
            connection.request("GET", "/status.json", headers={"Authorization": f"Bearer {token}"})
            status = json.loads(connection.getresponse().read())
            connection.close()
            return status["phase"]

        wait_until(lambda: phase() == "running")
        process.send_signal(signal.SIGTERM)
        assert token in process.stderr.readline()
        assert token not in process.stderr.read()  # once, and in no later line
        assert process.wait(30) == 0
    log = (tmp_path / "log.txt").read_text()
    assert re.search(rf"INFO web page: http://[\d.]+:{port}/$", log, re.MULTILINE)
    assert token not in log


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--web", "everywhere"], "accepted HOST:PORT"),
        (["--web", ":8080"], "accepted HOST:PORT"),
        (["--web", "192.0.2.77:0"], "cannot listen there"),
        (["--web", "127.0.0.1:0", "--web-token", "absent"], "absent: cannot be read"),
        (["--web-token", "absent"], "--web-token belongs to --web"),
    ],
)
def test_a_bad_address_or_token_ends_with_code_2(make_bundle, tmp_path, options, words):
    import cv2

    from edge.conftest import two_squares

    cv2.imwrite(str(tmp_path / "a.png"), two_squares())
    run = run_camera(
        "--bundle", make_bundle("detector", formats=("tflite",)), "--source", "a.png", *options, cwd=tmp_path
    )
    assert (run.returncode, words in run.stderr) == (2, True), run.stderr
    assert "Traceback" not in run.stderr


def test_without_the_option_no_line_of_the_web_page_is_imported():
    script = "\n".join(
        [
            "import contextlib, runpy, sys",
            f"sys.path.insert(0, {str(EDGE)!r})",
            "sys.argv = ['run_camera.py', '--help']",
            "with contextlib.suppress(SystemExit):",
            f"    runpy.run_path({str(EDGE / 'run_camera.py')!r}, run_name='__main__')",
            "print([name for name in sys.modules if name.startswith('cvforge_edge.web.') or name == 'http.server'])",
        ]
    )
    done = subprocess.run([sys.executable, "-I", "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines()[-1] == "['cvforge_edge.web.options']"
