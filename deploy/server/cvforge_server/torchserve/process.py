"""The server's process: started so that it can be found again, and ended with everything that it has started."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from cvforge_edge.errors import StorageError
from cvforge_edge.records import dataclass
from cvforge_server.errors import ServerError
from cvforge_server.torchserve.management import Management, ModelState
from cvforge_server.torchserve.process_group import ProcessGroup, birth
from cvforge_server.torchserve.server_files import CONFIG_NAME, KEYS_NAME, LOGS, STATE_NAME, Ports, ServerConfig
from cvforge_server.torchserve.server_logs import JSON_NAME, MODEL_NAME, OUTPUT_NAME, refusal_in

POLL_S = 0.25
STOP_S = 10.0
"""So long a server may take to end by itself."""
LOG_LINES = 15
UTF_8 = "C.UTF-8"
"""A locale in which Java understands file names of all languages, and writes numbers with a point."""
SHORT = "/tmp"
"""Sockets of workers lie there: their paths may have 107 characters."""


@dataclass(frozen=True)
class Running:
    """A server that was started.

    Attributes:
        folder: its files, logs and tokens.
        pid: of the process that leads its group.
        started: by which that process is told from a later one of the same number, see `process_group.birth`.
        temporary: its sockets lie there, and its processes are known by it.
        host: address for clients.
        ports: where it listens.
        models: names under which models are served.
        log_bytes: of the workers' log that are of earlier starts.
    """

    folder: Path
    pid: int
    started: str
    temporary: str
    host: str
    ports: Ports
    models: tuple[str, ...]
    log_bytes: int = 0

    @classmethod
    def read(cls, folder: Path) -> Running:
        """The server of a folder.

        Raises:
            ServerError: none was started there, or its notes are damaged.
        """
        try:
            value = json.loads((folder / STATE_NAME).read_text(encoding="utf-8"))
            ports, models = Ports(**value.pop("ports")), tuple(value.pop("models"))
            value["started"] = str(value["started"])  # once a time, which says nothing of the process any more
            return cls(folder=folder, ports=ports, models=models, **value)
        except FileNotFoundError:
            advice = "start one with tools/serve.py start, or name its folder with --server"
            raise ServerError(f"{folder}: no server was started there, or it was stopped; {advice}") from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            advice = "end the server's processes, if any are left, and delete the file"
            raise ServerError(f"{folder / STATE_NAME}: cannot be read ({error}); {advice}") from None

    def write(self) -> None:
        """Leave a note of it in its folder."""
        value = {**vars(self), "ports": vars(self.ports), "models": list(self.models)}
        del value["folder"]
        draft = self.folder / f"{STATE_NAME}.part"
        draft.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
        draft.replace(self.folder / STATE_NAME)

    @property
    def alive(self) -> bool:
        """Whether the process that leads the others is still there, and the same."""
        return self.group.led

    @property
    def group(self) -> ProcessGroup:
        """All of its processes."""
        return ProcessGroup(self.pid, self.started, self.temporary)

    def check_nothing_left(self) -> None:
        """Raise a `ServerError` where its first process has ended and others of it have not."""
        left = self.group.members()
        if left:
            raise ServerError(
                f"{self.folder}: the first process of the server there has ended, and {len(left)} others have not; end "
                "them first with tools/serve.py stop"
            )

    def management(self) -> Management:
        """Its management interface.

        Raises:
            ServerError: it has not made its tokens yet.
        """
        return Management(self.ports.management, token=token(self.folder, "management"))

    def states(self) -> list[ModelState]:
        """The models and their workers.

        Raises:
            ServerError: the server does not answer.
        """
        management = self.management()
        return [management.model(name) for name in self.models]


def start(config: ServerConfig, folder: Path) -> Running:
    """Start TorchServe in a process group of its own; it is not ready yet.

    Args:
        config: how.
        folder: of the server; its notes, logs and tokens go there.

    Raises:
        ServerError: one runs there already, or processes of one are left, a port is taken, or Java or TorchServe is missing.
        StorageError: the folder cannot be written.
    """
    _check_programs()
    if (folder / STATE_NAME).exists():
        _check_ended(Running.read(folder))
    config.ports.check_free(host=config.host, grpc_host=config.grpc_host)
    config.properties(folder)  # what cannot be written into it is said before there is anything to tidy
    temporary = tempfile.mkdtemp(prefix="cvforge-", dir=SHORT if Path(SHORT).is_dir() else None)
    try:
        config.write(folder)
        (folder / KEYS_NAME).unlink(missing_ok=True)
        json_log = folder / LOGS / JSON_NAME
        log_bytes = json_log.stat().st_size if json_log.exists() else 0
        process = _launch(config, folder, temporary)
        born, ports, models = birth(process.pid) or "", config.ports, tuple(config.models)
        running = Running(folder, process.pid, born, temporary, config.host, ports, models, log_bytes)
        try:
            running.write()
        except OSError:  # nobody would find again what was just started
            running.group.end(within_s=STOP_S)
            process.wait()
            raise
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise StorageError(f"{folder}: cannot be written ({error.strerror}); choose another --server") from None
    return running


def wait_ready(running: Running, *, timeout_s: float, say: Callable[[str], None], over: threading.Event) -> None:
    """Return when every worker of every model takes requests; that `/ping` answers does not mean it.

    Args:
        running: just started.
        timeout_s: how long that may take.
        say: told of each change.
        over: set when nobody waits any more.

    Raises:
        KeyboardInterrupt: nobody waits any more.
        ServerError: the server ended, a worker cannot load its model, or the server is not ready in time; the message says
            why, or has the end of the logs.
    """
    until_s = time.monotonic() + timeout_s
    said = ""
    while time.monotonic() < until_s:
        if not running.alive:
            raise ServerError(f"the server ended while it started\n{log_end(running.folder)}")
        refusal = refusal_in(running.folder / LOGS / JSON_NAME, after=running.log_bytes)
        if refusal is not None:
            raise ServerError(f"a worker cannot load its model: {refusal}")
        try:
            states = running.states()
        except ServerError:
            states = []
        line = "; ".join(state.line() for state in states)
        if line != said:
            say(line)
            said = line
        if states and all(state.ready for state in states):
            return
        if over.wait(POLL_S):
            raise KeyboardInterrupt
    raise ServerError(f"not ready after {timeout_s:g} s: {said or 'no answer'}\n{log_end(running.folder)}")


def stop(running: Running) -> None:
    """End the server and everything that it has started, and forget it.

    Raises:
        ServerError: its processes cannot be ended.
    """
    running.group.end(within_s=STOP_S)
    shutil.rmtree(running.temporary, ignore_errors=True)
    for name in (STATE_NAME, KEYS_NAME):
        (running.folder / name).unlink(missing_ok=True)


def log_end(folder: Path) -> str:
    """The last lines that the server and its workers wrote, for a message."""
    lines = []
    for name in (OUTPUT_NAME, MODEL_NAME):
        with contextlib.suppress(OSError):
            lines += (folder / LOGS / name).read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_LINES:]
    return "\n".join(lines)


def token(folder: Path, kind: str) -> str:
    """A token that the server has made.

    Args:
        folder: of the server.
        kind: `inference` or `management`.

    Raises:
        ServerError: it has not made any yet.
    """
    try:
        return str(json.loads((folder / KEYS_NAME).read_text(encoding="utf-8"))[kind]["key"])
    except (OSError, ValueError, KeyError, TypeError):
        raise ServerError(f"{folder / KEYS_NAME}: no token yet") from None


def _launch(config: ServerConfig, folder: Path, temporary: str) -> subprocess.Popen[bytes]:
    with (folder / LOGS / OUTPUT_NAME).open("wb") as output:
        return subprocess.Popen(
            _command(config, folder),
            cwd=folder,
            env=_environment(folder, temporary),
            stdin=subprocess.DEVNULL,
            stdout=None if config.console else output,
            stderr=None if config.console else subprocess.STDOUT,
            start_new_session=True,
        )


def _command(config: ServerConfig, folder: Path) -> list[str]:
    files = {"--model-store": config.store, "--ts-config": folder / CONFIG_NAME}
    named = [text for option, path in files.items() for text in (option, str(path.resolve()))]
    return [sys.executable, "-m", "ts.model_server", "--start", "--foreground", "--ncs", *named]


def _environment(folder: Path, temporary: str) -> dict[str, str]:
    logs = str((folder / LOGS).resolve())
    ours = {"TMPDIR": temporary, "TEMP": temporary, "LOG_LOCATION": logs, "METRICS_LOCATION": logs}
    threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # more workers, not more threads
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TS_")}
    return {**threads, **kept, **ours, "LC_ALL": UTF_8}


def _check_ended(running: Running) -> None:
    """Hold that nothing of a server of before is left, and remove the folder of its sockets."""
    if running.alive:
        raise ServerError(
            f"{running.folder}: a server runs there; stop it with tools/serve.py stop, or choose another --server"
        )
    running.check_nothing_left()
    shutil.rmtree(running.temporary, ignore_errors=True)


def _check_programs() -> None:
    home = os.environ.get("JAVA_HOME")
    java = str(Path(home) / "bin" / "java") if home else "java"
    if shutil.which(java) is None:
        named = f"{java} (of JAVA_HOME)" if home else java
        unset = " and unset JAVA_HOME, or let it name the folder of a Java" if home else ""
        needed = f"TorchServe needs Java 11 or newer: apt-get install openjdk-17-jre-headless{unset}"
        raise ServerError(f"{named}: not found; {needed}")
    if importlib.util.find_spec("ts") is None or importlib.util.find_spec("torch") is None:
        raise ServerError('torchserve or torch is not installed; in a clone of CVForge: pip install -e ".[server]"')
