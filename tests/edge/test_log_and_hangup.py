"""What a log file holds at the end of a run that failed or was quiet, and a hangup before the run has begun."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from cvforge_edge.cli import call_on_hangup, hold_hangup
from edge.test_run_camera import command, run_camera
from edge.test_step_options import RULES, clip  # noqa: F401
from edge.test_supervised_run import WAIT_S, camera, text_of, wait_for  # noqa: F401

HANGUP = pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="this system has no SIGHUP")


def run_python(code: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """A program of its own: its root logger has no handlers yet."""
    return subprocess.run(
        [sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True, timeout=WAIT_S, check=False
    )


def test_a_fatal_error_is_on_standard_error_and_in_the_log(make_bundle, tmp_path):
    bundle = make_bundle("detector", formats=("onnx",))
    arguments = ("--bundle", bundle, "--source", "missing.mp4", "--log", "log.txt", "--quiet")
    ended = run_camera(*arguments, cwd=tmp_path)
    assert ended.returncode == 8
    assert ended.stderr.count("missing.mp4: no such file") == 1
    (line,) = text_of(tmp_path / "log.txt").splitlines()
    assert " CRITICAL missing.mp4: no such file, folder or camera" in line


def test_without_a_log_a_fatal_error_is_said_once(make_bundle, tmp_path):
    ended = run_camera("--bundle", make_bundle("detector"), "--source", "missing.mp4", cwd=tmp_path)
    assert ended.stderr.count("missing.mp4") == 1


def test_a_mistake_of_ours_leaves_its_traceback_in_the_log(tmp_path):
    code = (
        "from cvforge_edge.cli import run_command; from cvforge_edge.log_file import set_up_logging\n"
        "def mistaken():\n set_up_logging(quiet=True, path='log.txt')\n return [][1]\n"
        "run_command(mistaken)"
    )
    ended = run_python(code, tmp_path)
    assert ended.returncode == 1
    assert "IndexError" in ended.stderr
    text = text_of(tmp_path / "log.txt")
    assert "CRITICAL unexpected error\nTraceback (most recent call last):" in text
    assert "in mistaken" in text
    assert "IndexError: list index out of range" in text


@pytest.mark.parametrize("log", [None, "log.txt"])
def test_a_quiet_run_still_tells_events(make_bundle, clip, tmp_path, log):  # noqa: F811
    bundle = make_bundle("detector", formats=("onnx",))
    options = () if log is None else ("--log", log)
    arguments = ("--bundle", bundle, "--source", clip, "--track", "--rules", "rules.yaml", "--quiet", *options)
    ended = run_camera(*arguments, cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    told = ended.stderr if log is None else text_of(tmp_path / log)
    (line,) = told.splitlines()
    assert line.endswith(f"EVENT {clip} 0.83 s: corner: occupancy_began 1.00")


@pytest.mark.parametrize(("path", "said"), [(None, "WARNING b\n"), ("log.txt", "INFO a\nWARNING b\n")])
def test_a_quiet_run_says_less_on_standard_error_and_no_less_in_a_file(tmp_path, path, said):
    code = (
        f"import logging; from cvforge_edge.log_file import set_up_logging; set_up_logging(quiet=True, path={path!r}); "
        "logging.getLogger('x').info('a'); logging.getLogger('x').warning('b')"
    )
    ended = run_python(code, tmp_path)
    lines = text_of(tmp_path / "log.txt").splitlines()
    found = ended.stderr + "".join(line.split(" ", 2)[2] + "\n" for line in lines)
    assert found == said


@HANGUP
def test_a_hangup_that_was_held_is_carried_out_once():
    before, done = signal.getsignal(signal.SIGHUP), []
    arrived = threading.Event()

    def action() -> None:
        done.append(1)
        arrived.set()

    try:
        hold_hangup()
        with call_on_hangup(action, terminal_closed=pytest.fail):
            pass
        assert done == []
        os.kill(os.getpid(), signal.SIGHUP)
        os.kill(os.getpid(), signal.SIGHUP)
        with call_on_hangup(action, terminal_closed=pytest.fail):
            assert arrived.wait(WAIT_S)
        with call_on_hangup(action, terminal_closed=pytest.fail):
            pass
        assert done == [1]
    finally:
        signal.signal(signal.SIGHUP, before)


@HANGUP
def test_a_hangup_while_the_program_starts_reloads_once_it_runs(make_bundle, tmp_path, camera):  # noqa: F811
    bundle, log, lines = make_bundle("detector", formats=("onnx",)), tmp_path / "log.txt", tmp_path / "out.jsonl"
    os.mkfifo(tmp_path / "rules.yaml")  # the start waits here until somebody writes rules
    options = ("--track", "--rules", "rules.yaml", "--json", "out.jsonl", "--log", "log.txt", "--self-test")
    wanted = command("--bundle", bundle, "--source", camera, *options)
    with subprocess.Popen(wanted, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        try:
            wait_for(lambda: catches_hangup(process.pid), process)
            process.send_signal(signal.SIGHUP)
            (tmp_path / "rules.yaml").write_text(RULES)
            wait_for(lambda: "tiny-detector version 1 takes over" in text_of(log), process)
            wait_for(lambda: text_of(lines).count("\n") > 3, process)
        finally:
            process.terminate()
        _, errors = process.communicate(timeout=WAIT_S)
    assert process.returncode == 0, errors


@HANGUP
def test_systemd_hears_that_the_program_is_ready_from_the_run_and_not_from_an_early_reload(
    make_bundle,
    tmp_path,
    camera,  # noqa: F811
):
    bundle, log = make_bundle("detector", formats=("onnx",)), tmp_path / "log.txt"
    os.mkfifo(tmp_path / "rules.yaml")
    options = ("--track", "--rules", "rules.yaml", "--log", "log.txt")
    wanted = command("--bundle", bundle, "--source", camera, *options)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(WAIT_S)
        environment = {**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "8000000"}
        with subprocess.Popen(wanted, cwd=tmp_path, stderr=subprocess.PIPE, text=True, env=environment) as process:
            try:
                wait_for(lambda: catches_hangup(process.pid), process)
                process.send_signal(signal.SIGHUP)
                (tmp_path / "rules.yaml").write_text(RULES)
                wait_for(lambda: "tiny-detector version 1 takes over" in text_of(log), process)
                first = systemd.recv(4096).decode()
            finally:
                process.terminate()
                process.communicate(timeout=WAIT_S)
    assert "READY=1" in first.splitlines() and first.startswith("STATUS=")


def catches_hangup(process_id: int) -> bool:
    """Whether a process has a handler of its own for SIGHUP, as the kernel says."""
    status = text_of(Path(f"/proc/{process_id}/status"))
    mask = next(line.split()[1] for line in status.splitlines() if line.startswith("SigCgt"))
    return bool(int(mask, 16) >> (signal.SIGHUP - 1) & 1)
