"""What keeps the program up for days, as a process: reload without losing the camera, limits, log file, read-only system."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from cvforge_edge.log_file import set_up_logging
from cvforge_edge.manifest import read_manifest, write_manifest
from edge.conftest import two_squares
from edge.mjpeg import GREY, MjpegServer
from edge.test_run_camera import command

WAIT_S = 30.0


@pytest.fixture
def camera():
    """The address of a network camera on loopback."""
    server = MjpegServer()
    yield f"http://127.0.0.1:{server.port}/stream"
    server.close()


def wait_for(what, process: subprocess.Popen) -> None:
    deadline_s = time.monotonic() + WAIT_S
    while not what():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


def text_of(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def end(process: subprocess.Popen) -> str:
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=WAIT_S)
    return errors


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="this system has no SIGHUP")
def test_hangup_loads_the_bundle_again_and_the_camera_notices_nothing(make_bundle, tmp_path, camera):
    bundle = make_bundle("detector", formats=("onnx",))
    arguments = ("--bundle", bundle, "--source", camera, "--json", "out.jsonl", "--log", "log.txt", "--self-test")
    log, lines = tmp_path / "log.txt", tmp_path / "out.jsonl"
    with subprocess.Popen(command(*arguments), cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        wait_for(lambda: text_of(lines).count("\n") > 3, process)
        write_manifest(dataclasses.replace(read_manifest(bundle), version=2), bundle)
        process.send_signal(signal.SIGHUP)
        wait_for(lambda: "tiny-detector version 2 takes over" in text_of(log), process)
        (bundle / "model_fp32.onnx").write_bytes(b"damaged")
        process.send_signal(signal.SIGHUP)
        wait_for(lambda: "reload refused, the old model goes on" in text_of(log), process)
        seen = text_of(lines).count("\n")
        wait_for(lambda: text_of(lines).count("\n") > seen + 3, process)
        end(process)
    assert process.returncode == 0
    assert "model_fp32.onnx" in text_of(log)
    records = [json.loads(line) for line in lines.read_text().splitlines()]
    assert [record["frame"] for record in records] == sorted({record["frame"] for record in records})
    assert "lost" not in text_of(log)


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="this system has no SIGHUP")
def test_a_tracker_goes_by_the_threshold_of_the_reloaded_bundle(make_bundle, tmp_path):
    server = MjpegServer(image_bgr=two_squares())
    camera = f"http://127.0.0.1:{server.port}/stream"
    bundle = make_bundle("detector", formats=("onnx",))
    manifest = read_manifest(bundle)
    arguments = ("--bundle", bundle, "--source", camera, "--track", "0", "--json", "out.jsonl", "--log", "log.txt")
    log, lines = tmp_path / "log.txt", tmp_path / "out.jsonl"

    def objects() -> int | None:
        records = [json.loads(line) for line in text_of(lines).splitlines()[:-1]]
        return len(records[-1]["detections"]) if records else None

    with subprocess.Popen(command(*arguments), cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        wait_for(objects, process)
        strict = dataclasses.replace(manifest.postprocess, score_threshold=1.0)
        write_manifest(dataclasses.replace(manifest, version=2, postprocess=strict), bundle)
        process.send_signal(signal.SIGHUP)
        wait_for(lambda: "tiny-detector version 2 takes over" in text_of(log), process)
        server.image_bgr = GREY  # the objects that are known go, and cannot come back
        wait_for(lambda: objects() == 0, process)
        server.image_bgr, seen = two_squares(), text_of(lines).count("\n")
        wait_for(lambda: text_of(lines).count("\n") > seen + 40, process)
        assert objects() == 0
        end(process)
    server.close()


def test_a_passed_limit_ends_the_process_with_its_own_code(make_bundle, tmp_path, camera):
    bundle = make_bundle("detector", formats=("onnx",))
    ended = subprocess.run(
        command("--bundle", bundle, "--source", camera, "--limit", "memory=1", "--json", "out.jsonl"),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    assert ended.returncode == 13, ended.stderr
    assert "MB of memory (limit memory=1); the run is ended so that it can be started anew" in ended.stderr
    assert all(json.loads(line) for line in text_of(tmp_path / "out.jsonl").splitlines())


def test_silent_camera_ends_the_process_when_the_user_wants_that(make_bundle, tmp_path):
    server = MjpegServer(frames=10)
    bundle = make_bundle("detector", formats=("onnx",))
    address = f"http://127.0.0.1:{server.port}/stream"
    ended = subprocess.run(
        command("--bundle", bundle, "--source", address, "--limit", "silence=1", "--limit", "memory=4000"),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    server.close()
    assert ended.returncode == 13, ended.stderr
    assert "(limit silence=1)" in ended.stderr


def test_systemd_is_told_that_the_program_is_ready_once_it_is(make_bundle, tmp_path, camera):
    bundle = make_bundle("detector", formats=("onnx",))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(WAIT_S)
        environment = {**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "200000"}
        arguments = command("--bundle", bundle, "--source", camera)
        with subprocess.Popen(arguments, cwd=tmp_path, stderr=subprocess.PIPE, text=True, env=environment) as process:
            heard = ""
            while "READY=1" not in heard or " live " not in heard:
                heard += systemd.recv(4096).decode() + "\n"
            for _ in range(3):
                assert "WATCHDOG=1" in systemd.recv(4096).decode()
            end(process)
        while "STOPPING=1" not in heard:
            heard = systemd.recv(4096).decode()
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("limit", "message"),
    [
        ("memory", "accepted a number of at least 0.1 for memory"),
        ("heat=80", "accepted NAME=VALUE with NAME one of inference, write, silence, memory"),
        ("write=0", "accepted a number of at least 0.1 for write"),
    ],
)
def test_limits_that_mean_nothing_are_refused(tmp_path, limit, message):
    ended = subprocess.run(
        command("--bundle", "b", "--source", "0", "--limit", limit),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=WAIT_S,
    )
    assert ended.returncode == 2
    assert message in " ".join(ended.stderr.split())


def test_the_log_keeps_its_size(tmp_path):
    code = (
        "import logging; from cvforge_edge import log_file; log_file.MAX_BYTES = 2000; "
        "log_file.set_up_logging(quiet=False, path='log.txt'); "
        "[logging.getLogger('x').info('line %d', n) for n in range(1000)]"
    )
    import sys

    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, timeout=WAIT_S)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log.txt", "log.txt.1", "log.txt.2", "log.txt.3"]
    assert all(path.stat().st_size <= 2000 for path in tmp_path.iterdir())
    assert "line 999" in (tmp_path / "log.txt").read_text()


def test_a_log_that_cannot_be_written_is_an_error_at_the_start(tmp_path):
    from cvforge_edge.errors import StorageError

    with pytest.raises(StorageError, match="--log .*missing/log.txt: cannot be opened") as failed:
        set_up_logging(quiet=False, path=str(tmp_path / "missing" / "log.txt"))
    assert failed.value.exit_code == 10


def read_only_command(folder: Path, arguments: list[str]) -> list[str] | None:
    """A command in a file system that is read-only but for one folder; None where this user may not make one."""
    unshare = shutil.which("unshare")
    if unshare is None:
        return None
    script = f"mount --bind {folder} {folder} && mount -o remount,bind,ro / && mount -o remount,bind,rw {folder}"
    probe = subprocess.run(
        [unshare, "-m", "sh", "-c", f"{script} && ! touch /probe"], capture_output=True, timeout=WAIT_S
    )
    if probe.returncode != 0:
        return None
    return [unshare, "-m", "sh", "-c", f'{script} && exec "$@"', "sh", *arguments]


def test_program_runs_on_a_read_only_system(make_bundle, tmp_path, camera):
    bundle = make_bundle("detector", formats=("onnx",))
    wanted = command("--bundle", bundle, "--source", camera, "--json", "-", "--max-frames", "5", "--self-test")
    arguments = read_only_command(tmp_path, wanted)
    if arguments is None:
        pytest.skip("this user may not mount a read-only file system")
    ended = subprocess.run(arguments, cwd=tmp_path, capture_output=True, text=True, timeout=WAIT_S, check=False)
    assert ended.returncode == 0, ended.stderr
    assert len(ended.stdout.splitlines()) == 5
