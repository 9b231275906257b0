"""A run of cameras whose addresses hold passwords: nothing that it says, shows, sends or stores holds one."""

from __future__ import annotations

import contextlib
import http.client
import json
import signal
import subprocess
from pathlib import Path

import pytest

from edge.broker import free_port
from edge.mjpeg import MjpegServer
from edge.test_run_camera import command
from edge.web_client import wait_until

PASSWORD, TOKEN = "geheim", "t0psecret"


@pytest.fixture
def server():
    server = MjpegServer()
    yield server
    server.close()


def read_page(host: str, path: str) -> str:
    connection = http.client.HTTPConnection(host, timeout=30)
    with contextlib.closing(connection):
        connection.request("GET", path)
        return connection.getresponse().read().decode()


@contextlib.contextmanager
def running(arguments: list[str], folder: Path):
    """A run whose words go into stderr.txt; ended at the end, whatever happens."""
    with (folder / "stderr.txt").open("w") as said:
        process = subprocess.Popen(command(*arguments), cwd=folder, stderr=said, stdout=said)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_no_output_of_a_run_holds_a_password_of_its_cameras(make_bundle, server, tmp_path):
    bundle = make_bundle("detector", formats=("tflite",))
    host = f"127.0.0.1:{server.port}"
    live = f"http://admin:p@{PASSWORD}@{host}/v.cgi?user=admin&PassWd={PASSWORD}&access_token={TOKEN}&channel=1"
    shown = f"http://admin:***@{host}/v.cgi?user=admin&PassWd=***&access_token=***&channel=1"
    dead = f"rtsp://admin:p/{PASSWORD}@127.0.0.1:{free_port()}/user=admin_password={PASSWORD}_channel=1"
    arguments = [
        *("--bundle", bundle, "--source", live, "--source", dead, "--web", "127.0.0.1:0", "--connect-for", "inf"),
        *("--json", "out.jsonl", "--csv", "out.csv", "--log", "log.txt", "--save", "out.avi", "--track"),
        *("--mqtt", f"mqtt://127.0.0.1:{free_port()}/site", "--queue", "queue"),
    ]
    said, log = tmp_path / "stderr.txt", tmp_path / "log.txt"
    with running(arguments, tmp_path) as process:
        wait_until(lambda: "web page: http" in said.read_text() or process.poll() is not None)
        page = said.read_text().partition("web page: http://")[2].partition("/")[0]
        wait_until(lambda: any(one["frames"] > 3 for one in json.loads(read_page(page, "/status.json"))["cameras"]))
        server.close()  # what is said of a loss names the camera, too
        wait_until(lambda: f"{shown}: connection lost" in log.read_text())
        pages = [read_page(page, path) for path in ("/status.json", "/metrics", "/")]
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    texts = {
        str(path): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and bundle not in path.parents
    }
    texts |= {str(number): page.encode() for number, page in enumerate(pages)}
    assert {name for name, text in texts.items() if PASSWORD.encode() in text or TOKEN.encode() in text} == set()
    assert not [name for name in texts if PASSWORD in name or TOKEN in name]
    assert json.loads((tmp_path / "out.jsonl").read_text().splitlines()[0])["source"] == shown
    assert shown in said.read_text()
    assert any(path.name.endswith(".csv") for path in tmp_path.iterdir())
    assert [path for path in (tmp_path / "queue").rglob("*") if path.is_file() and path.stat().st_size]
    assert shown in pages[1]
