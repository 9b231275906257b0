"""A real TorchServe for tests: started by the command that users start it with."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from conftest import REPOSITORY
from cvforge_edge.records import dataclass

SERVE = REPOSITORY / "tools" / "serve.py"
TIMEOUT_S = 60
MISSING = None if shutil.which("java") else "java is not installed (apt-get install openjdk-17-jre-headless)"
"""Why no server can be started here."""


def serve(*arguments: object, cwd: Path, timeout_s: float = 180) -> subprocess.CompletedProcess[str]:
    """Run `tools/serve.py`."""
    command = [sys.executable, str(SERVE), *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=timeout_s)


def free_port() -> int:
    """The first of five in a row that nobody listens on."""
    for _ in range(50):
        with socket.create_server(("127.0.0.1", 0)) as first:
            port = int(first.getsockname()[1])
        if port < 65000 and all(_is_free(port + step) for step in range(5)):
            return port
    raise AssertionError("no five free ports in a row")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


@dataclass(frozen=True)
class Answer:
    """What the server said."""

    status: int
    body: bytes
    content_type: str
    headers: Mapping[str, str]

    @property
    def value(self) -> Any:
        """Of the JSON."""
        return json.loads(self.body)


@dataclass(frozen=True)
class RealServer:
    """A server in a folder of its own."""

    folder: Path
    port: int

    @property
    def state(self) -> dict[str, Any]:
        """What it left in its folder."""
        found: dict[str, Any] = json.loads((self.folder / "serving" / "server" / "server.json").read_text())
        return found

    def token(self, kind: str = "inference") -> str:
        """That the server has made."""
        keys = json.loads((self.folder / "serving" / "server" / "key_file.json").read_text())
        return str(keys[kind]["key"])

    def ask(
        self,
        path: str,
        body: bytes = b"",
        *,
        headers: Mapping[str, str] | None = None,
        method: str = "POST",
        offset: int = 0,
    ) -> Answer:
        """One request with the token; `offset` is that of the port: 2 for management, 3 for metrics."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port + offset, timeout=TIMEOUT_S)
        try:
            token = self.token("management" if offset == 2 else "inference")
            connection.request(method, path, body, {"Authorization": f"Bearer {token}", **(headers or {})})
            response = connection.getresponse()
            headers = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, response.read(), headers.get("content-type", ""), headers)
        finally:
            connection.close()

    def predict(self, model: str, body: bytes, content_type: str = "image/png", *, options: str = "") -> Answer:
        """Ask for a prediction; options as in an address."""
        chosen = {"X-CVForge-Options": options} if options else {}
        return self.ask(f"/predictions/{model}", body, headers={"Content-Type": content_type, **chosen})

    def workers(self, model: str) -> list[dict[str, Any]]:
        """As the management interface tells them."""
        found: list[dict[str, Any]] = self.ask(f"/models/{model}", method="GET", offset=2).value[0]["workers"]
        return found


def lines_of(server: RealServer, **wanted: object) -> list[dict[str, Any]]:
    """What the workers have logged, so far as it has these values; every line is JSON."""
    text = (server.folder / "serving" / "server" / "logs" / "cvforge.jsonl").read_text("ascii")
    lines = [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
    return [line for line in lines if wanted.items() <= line.items()]


def wait_for(condition: Callable[[], Any]) -> Any:
    """What a condition says as soon as it is true."""
    until_s = time.monotonic() + 120
    while not (found := condition()):
        assert time.monotonic() < until_s, "waited in vain"
        time.sleep(0.2)
    return found


def start_server(
    folder: Path, bundles: Mapping[str, Path], *, options: Sequence[object] = (), start: Sequence[object] = ()
) -> RealServer:
    """Archive bundles by name, with these options, and start a server, with those; `stop_server` ends it."""
    for name, bundle in bundles.items():
        made = serve("archive", "--bundle", bundle, "--name", name, *options, cwd=folder)
        assert made.returncode == 0, made.stderr
    port = free_port()
    started = serve("start", "--port", port, *start, cwd=folder)
    assert started.returncode == 0, started.stderr
    return RealServer(folder, port)


def stop_server(server: RealServer) -> None:
    """End it, and hold that nothing of it is left."""
    state = server.state
    stopped = serve("stop", cwd=server.folder)
    assert stopped.returncode == 0, stopped.stderr
    assert left_of(state["pid"]) == [] and not Path(state["temporary"]).exists()


def left_of(leader: int) -> list[int]:
    """Processes of a group that have not ended."""
    return [pid for pid in _pids() if _group(pid) == leader]


def _pids() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]


def _group(pid: int) -> int | None:
    """Of a process that has not ended."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
        return None if status.rpartition(")")[2].split()[0] == "Z" else os.getpgid(pid)
    except OSError:
        return None
