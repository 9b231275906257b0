"""Standard error that is closed, broken or a terminal that went away stops nothing; a closed terminal ends a run in order."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import signal
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from edge.conftest import MODELS
from edge.test_run_camera import clip, command  # noqa: F401
from edge.test_supervised_run import WAIT_S, camera, text_of  # noqa: F401
from edge.web_client import wait_until

FRAMES = 24
needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="terminals of others close in their own ways")


class Terminal:
    """A terminal of which a test is the user; a program that runs on it gets SIGHUP when it is closed."""

    def __init__(self) -> None:
        self._user, self._program = pty.openpty()
        os.set_blocking(self._user, False)
        self.shown = b""

    def start(self, arguments: list[str], cwd: Path) -> subprocess.Popen:
        def take_control() -> None:
            os.setsid()
            fcntl.ioctl(self._program, termios.TIOCSCTTY, 0)

        process = subprocess.Popen(arguments, cwd=cwd, stderr=self._program, preexec_fn=take_control)
        os.close(self._program)
        return process

    def read(self) -> bytes:
        """All that was shown until now; who does not read lets the program wait."""
        with contextlib.suppress(BlockingIOError):
            self.shown += os.read(self._user, 65536)
        return self.shown

    def close(self) -> None:
        os.close(self._user)


@contextlib.contextmanager
def broken_pipe():
    """The end for writing of a pipe whose reader has ended."""
    reader, writer = os.pipe()
    os.close(reader)
    yield writer
    os.close(writer)


def ended(arguments: list[str], cwd: Path, **files) -> int:
    return subprocess.run(arguments, cwd=cwd, timeout=WAIT_S, check=False, **files).returncode


def frames_in(path: Path) -> list[int]:
    return [json.loads(line)["frame"] for line in path.read_text().splitlines()]


@needs_linux
@pytest.mark.parametrize("quiet", [(), ("--quiet",)])
def test_a_run_ends_in_order_when_its_terminal_is_closed(make_bundle, camera, tmp_path, quiet):  # noqa: F811
    bundle = make_bundle("detector", formats=("onnx",))
    wanted = command("--bundle", bundle, "--source", camera, "--json", "out.jsonl", "--log", "log.txt", *quiet)
    terminal, lines, log = Terminal(), tmp_path / "out.jsonl", tmp_path / "log.txt"
    process = terminal.start(wanted, tmp_path)
    try:
        wait_until(lambda: terminal.read() is not None and text_of(lines).count("\n") > 3)
        process.send_signal(signal.SIGHUP)  # the terminal is there: somebody wants a reload
        wait_until(lambda: terminal.read() is not None and "tiny-detector version 1 takes over" in text_of(log))
        seen = text_of(lines).count("\n")
        wait_until(lambda: terminal.read() is not None and text_of(lines).count("\n") > seen + 3)
        assert process.poll() is None
        terminal.close()
        assert process.wait(WAIT_S) == 0
    finally:
        process.kill()
        process.wait()
    assert frames_in(lines) == sorted(set(frames_in(lines)))
    assert "Traceback" not in text_of(log)
    assert (b"frame " in terminal.shown) == (quiet == ())


def test_a_reader_of_standard_error_that_ends_stops_nothing(make_bundle, clip, tmp_path):  # noqa: F811
    bundle = make_bundle("detector", formats=("onnx",))
    with broken_pipe() as writer:
        wanted = command("--bundle", bundle, "--source", clip, "--json", "out.jsonl", "--self-test")
        assert ended(wanted, tmp_path, stderr=writer) == 0
        assert frames_in(tmp_path / "out.jsonl") == [*range(FRAMES)]
        assert ended(command("--bundle", bundle, "--source", "missing.mp4"), tmp_path, stderr=writer) == 8
        assert ended(command("--bundle", bundle, "--nothing-like-it"), tmp_path, stderr=writer) == 2


@needs_linux
def test_a_full_disk_under_standard_error_changes_no_exit_code(make_bundle, tmp_path):
    with Path("/dev/full").open("w") as full:
        assert ended(command("--bundle", make_bundle(), "--self-test"), tmp_path, stderr=full) == 0


@needs_linux
@pytest.mark.parametrize("closed", ["2>&-", "<&- 2>&-", "<&- >&- 2>&-"])
def test_without_a_standard_error_no_file_takes_its_place(make_bundle, clip, tmp_path, closed):  # noqa: F811
    bundle = make_bundle("detector", formats=("tflite",))  # LiteRT writes to descriptor 2
    wanted = command("--bundle", bundle, "--source", clip, "--json", "out.jsonl", "--csv", "out.csv")
    assert ended(["sh", "-c", f'exec "$@" {closed}', "sh", *wanted], tmp_path) == 0
    assert frames_in(tmp_path / "out.jsonl") == [*range(FRAMES)]
    assert (bundle / "model_fp32.tflite").read_bytes() == (MODELS / "detector.tflite").read_bytes()


def test_what_is_written_arrives_while_somebody_reads_it(make_bundle, tmp_path):
    done = subprocess.run(
        command("--bundle", make_bundle(), "--self-test"), cwd=tmp_path, capture_output=True, timeout=WAIT_S
    )
    assert done.returncode == 0 and b"self-test passed" in done.stderr
