"""Which processes are the server's, and that `stop` ends them and nobody else's."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from cvforge_edge.errors import EdgeError, StorageError, UsageError
from cvforge_server.commands import status as status_command
from cvforge_server.commands import stop as stop_command
from cvforge_server.torchserve.process import Running, start
from cvforge_server.torchserve.process_group import ProcessGroup, birth
from cvforge_server.torchserve.server_files import Ports, ServerConfig
from edge.conftest import build_bundle
from server.real_server import MISSING, free_port, left_of, serve, start_server, wait_for

LEADER = """
import subprocess, sys, time
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print("ready", flush=True)
time.sleep(600)
"""
"""Leads a group of two."""
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(600)"


Leaders = Callable[..., int]


@pytest.fixture
def lead(tmp_path: Path) -> Iterator[Leaders]:
    """Starts a group whose processes have the folder, and says its number: `lead()`, `lead(temporary="/other")`."""
    begun: list[subprocess.Popen[bytes]] = []

    def begin(code: str = LEADER, *, temporary: str | None = None) -> int:
        environment = {**os.environ, "TMPDIR": temporary or str(tmp_path / "temporary")}
        process = subprocess.Popen(
            [sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, start_new_session=True
        )
        begun.append(process)
        assert process.stdout is not None and process.stdout.readline() == b"ready\n"
        return process.pid

    yield begin
    for process in begun:
        for pid in left_of(process.pid):
            os.kill(pid, signal.SIGKILL)
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def note(folder: Path, leader: int, *, started: str | None = None) -> Running:
    """As `start` leaves it."""
    (folder / "temporary").mkdir(exist_ok=True)
    born = birth(leader) or "" if started is None else started
    running = Running(folder, leader, born, str(folder / "temporary"), "127.0.0.1", Ports.beginning_at(9000), ("a",))
    running.write()
    return running


def test_stop_ends_the_leader_and_what_it_has_started(lead, tmp_path):
    leader = lead()
    assert len(note(tmp_path, leader).group.members()) == 2
    assert stop_command.main(["--server", str(tmp_path)]) == 0
    assert left_of(leader) == [] and not (tmp_path / "server.json").exists() and not (tmp_path / "temporary").exists()


def test_stop_ends_a_process_that_does_not_want_to(lead, tmp_path):
    leader = lead(DEAF)
    note(tmp_path, leader).group.end(within_s=0.3)
    assert left_of(leader) == []


def test_stop_leaves_a_group_alone_that_has_got_the_number_of_a_server_of_an_earlier_boot(lead, tmp_path):
    stranger = lead(temporary="/somewhere/else")
    ticks = (birth(stranger) or "").split()[1]
    running = note(tmp_path, stranger, started=f"00000000-0000-0000-0000-000000000000 {ticks}")
    assert not running.alive and running.group.members() == []
    with pytest.raises(EdgeError, match="the server has ended"):
        status_command.main(["--server", str(tmp_path)])
    assert stop_command.main(["--server", str(tmp_path)]) == 0
    assert len(left_of(stranger)) == 2 and not (tmp_path / "server.json").exists()


def test_processes_whose_leader_was_killed_are_told_and_can_be_stopped(lead, tmp_path):
    leader = lead()
    running = note(tmp_path, leader)
    os.kill(leader, signal.SIGKILL)
    wait_for(lambda: not running.alive)
    config = ServerConfig(tmp_path, {"a": "a.mar"}, running.ports)
    for call in (lambda: status_command.main(["--server", str(tmp_path)]), lambda: start(config, tmp_path)):
        with pytest.raises(EdgeError, match="has ended, and 1 others have not; end them first with .* stop") as caught:
            call()
        assert caught.value.exit_code == 14
    assert len(left_of(leader)) == 1
    assert stop_command.main(["--server", str(tmp_path)]) == 0
    assert left_of(leader) == []


def test_a_clock_that_is_set_does_not_make_a_server_another_one(lead, tmp_path, monkeypatch):
    leader = lead(temporary="/unknown/to/it")  # only its birth tells it
    running = note(tmp_path, leader)
    monkeypatch.setattr(psutil.Process, "create_time", lambda _: 4e9)
    assert running.alive and len(running.group.members()) == 2


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="no /proc")
def test_the_birth_is_the_boot_and_the_ticks_since_then():
    started_s = psutil.Process().create_time() - psutil.boot_time()
    boot, ticks = (birth(os.getpid()) or "").split()
    assert boot == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert int(ticks) / os.sysconf("SC_CLK_TCK") == pytest.approx(started_s, abs=1.5)


def test_a_note_of_an_earlier_form_still_leads_to_its_server(lead, tmp_path):
    leader = lead()
    note(tmp_path, leader)
    value = json.loads((tmp_path / "server.json").read_text())
    (tmp_path / "server.json").write_text(json.dumps({**value, "started": 1753000000.25}))
    assert Running.read(tmp_path).alive
    assert stop_command.main(["--server", str(tmp_path)]) == 0
    assert left_of(leader) == []


def test_a_damaged_note_says_what_to_do(tmp_path):
    (tmp_path / "server.json").write_text("{}")
    with pytest.raises(EdgeError, match="cannot be read .*delete the file") as caught:
        Running.read(tmp_path)
    assert caught.value.exit_code == 14


def test_a_process_of_another_user_is_said_to_be_one(lead, tmp_path, monkeypatch):
    def refuse(pid: int, number: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    leader = lead()
    running = note(tmp_path, leader)
    with monkeypatch.context() as patch, pytest.raises(EdgeError, match=r"belongs to another user") as caught:
        patch.setattr("cvforge_server.torchserve.process_group.os.kill", refuse)
        stop_command.main(["--server", str(tmp_path)])
    assert caught.value.exit_code == 14 and running.alive and (tmp_path / "server.json").exists()


def test_a_number_that_nobody_has_belongs_to_no_group(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    group = ProcessGroup(process.pid, "x", str(tmp_path))
    assert birth(process.pid) is None and not group.led and group.members() == []
    group.end(within_s=1)


def processes_with(name: str, value: str) -> list[psutil.Process]:
    """Those whose environment says so."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get(name) == value:
                found.append(process)
    return found


@pytest.mark.skipif(MISSING is not None, reason=str(MISSING))
def test_a_server_whose_note_cannot_be_written_is_ended_again(tmp_path):
    (tmp_path / "server" / "server.json.part").mkdir(parents=True)
    config = ServerConfig(tmp_path, {"a": "a.mar"}, Ports.beginning_at(free_port()))
    with pytest.raises(StorageError, match="cannot be written"):
        start(config, tmp_path / "server")
    left = processes_with("LOG_LOCATION", str(tmp_path / "server" / "logs"))
    for process in left:
        process.kill()
    assert left == []


@pytest.mark.skipif(MISSING is not None, reason=str(MISSING))
def test_a_start_after_a_crash_removes_what_the_crash_has_left(lead, tmp_path):
    leader = lead("print('ready', flush=True)")
    running = note(tmp_path, leader, started="another boot")
    wait_for(lambda: left_of(leader) == [])
    nobodys = ServerConfig(tmp_path, {"a": "a.mar"}, running.ports, host="203.0.113.7")
    with pytest.raises(UsageError, match="no IPv4 address of this machine"):
        start(nobodys, tmp_path)
    assert not (tmp_path / "temporary").exists()


@pytest.mark.slow
@pytest.mark.skipif(MISSING is not None, reason=str(MISSING))
def test_java_and_the_workers_are_ended_also_where_their_first_process_was_killed(tmp_path):
    bundle = build_bundle(tmp_path / "detector", "detector", formats=("onnx",), golden=True)
    server = start_server(tmp_path, {"detector": bundle})
    leader = server.state["pid"]
    os.kill(leader, signal.SIGKILL)
    wait_for(lambda: leader not in left_of(leader))
    assert len(left_of(leader)) >= 2  # Java and a worker
    for command in (("status",), ("start", "--port", server.port)):
        told = serve(*command, cwd=tmp_path)
        assert told.returncode == 14 and "others have not; end them first" in told.stderr, told.stderr
    stopped = serve("stop", cwd=tmp_path)
    assert stopped.returncode == 0 and left_of(leader) == [], stopped.stderr
    assert serve("status", cwd=tmp_path).returncode == 14
