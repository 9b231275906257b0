"""A Ray cluster of two nodes on this machine, in processes of its own, for benchmarks and tests; it ends with its owner.

It listens on loopback and wants a token. Configurations go in by the interface that `serve deploy` uses.
"""

from __future__ import annotations

import http.client
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
LOOPBACK = "127.0.0.1"
START_S, STEP_S, STOP_S = 240.0, 0.25, 60.0
PROXY_READY_S = "60"
"""Ray gives a proxy 5 s to come up, and gives up after three; a busy machine needs longer."""
TRIES = 4
"""Ray gives a node 30 s to come up, which is not to be changed."""
OBJECT_STORE_BYTES = 80_000_000
APPLICATIONS = "/api/serve/applications/"


class RayCluster:
    """Two nodes with processors of their own, a context manager.

    Args:
        cpus: that each node says it has, whatever the machine has.
    """

    def __init__(self, *, cpus: int = 2) -> None:
        self._cpus = cpus
        self._folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))  # paths of sockets may have 107 characters
        self._token = secrets.token_hex(32)
        self._process: subprocess.Popen[str] | None = None
        self.dashboard_port, self.port = free_port(), free_port()

    def __enter__(self) -> RayCluster:
        try:
            for tries_left in reversed(range(TRIES)):
                if self._start():
                    break
                if not tries_left:
                    raise RuntimeError(f"the cluster did not start: {self.log()}")
                self._end()
            self.wait(lambda: self._request("GET", APPLICATIONS)[0] == 200, "the interface of Ray Serve")
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the nodes and everything that they have started."""
        self._end()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _start(self) -> bool:
        """Whether both nodes are up."""
        paths = [ROOT / "deploy" / "edge", ROOT / "deploy" / "server"]
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(map(str, paths)),
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # Ray's servers listen on 127.0.0.1 alone, but one in each replica
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": self._token,
            "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": PROXY_READY_S,
            "RAY_worker_niceness": "0",  # 15 otherwise: beside clients on the same cores, replicas would get what is left
            "RAY_DISABLE_DOCKER_CPU_WARNING": "1",
            "RAY_TMPDIR": str(
                self._folder
            ),  # there Ray notes this cluster as the current one, not in place of the user's
        }
        (self._folder / "ray").mkdir(exist_ok=True)
        command = [sys.executable, str(Path(__file__).resolve()), str(self._folder), str(self.dashboard_port)]
        with (self._folder / "cluster.log").open("w") as log:
            self._process = subprocess.Popen(
                [*command, str(self._cpus)],
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        assert self._process.stdout is not None
        return self._process.stdout.readline() == "ready\n"

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None and process.stdout is not None
        with suppress(BrokenPipeError):
            process.stdin.close()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        process.stdout.close()

    def apply(self, config: Mapping[str, Any]) -> None:
        """What `serve deploy` does with a file; returns before it is done.

        Raises:
            RuntimeError: Ray refused the configuration.
        """
        status, answer = self._request("PUT", APPLICATIONS, json.dumps(config))
        if status != 200:
            raise RuntimeError(f"{status}: {answer[:2000]}")

    def applications(self) -> dict[str, Any]:
        """Of Ray Serve, by name, as its interface tells them."""
        found: dict[str, Any] = json.loads(self._request("GET", APPLICATIONS)[1])["applications"]
        return found

    def replicas(self, application: str, *, state: str = "RUNNING") -> list[dict[str, Any]]:
        """Those of an application's deployments that are in a state."""
        deployments = self.applications().get(application, {}).get("deployments", {})
        return [r for one in deployments.values() for r in one["replicas"] if r["state"] == state]

    def wait_for_status(self, application: str, status: str = "RUNNING", *, limit_s: float = START_S) -> None:
        """Wait until an application has a status, or raise a `TimeoutError`."""
        self.wait(
            lambda: self.applications().get(application, {}).get("status") == status,
            f"{application} to be {status}",
            limit_s=limit_s,
        )

    def wait(self, done: Callable[[], bool], what: str, *, limit_s: float = START_S) -> None:
        """Wait for something, or raise a `TimeoutError` that says how the applications are."""
        until_s = time.monotonic() + limit_s
        while time.monotonic() < until_s:
            with suppress(OSError, http.client.HTTPException, KeyError, ValueError):
                if done():
                    return
            time.sleep(STEP_S)
        raise TimeoutError(f"waited {limit_s:.0f} s for {what}; {self._request('GET', APPLICATIONS)[1][:4000]}")

    @property
    def pid(self) -> int:
        """Of the process that all others of the cluster descend from."""
        assert self._process is not None
        return self._process.pid

    def log(self) -> str:
        """What the cluster's own process said."""
        return (self._folder / "cluster.log").read_text(errors="replace")[-4000:]

    def serve_logs(self) -> str:
        """What replicas, proxies and the controller have logged."""
        logs = self._folder / "session_latest" / "logs"
        found = sorted([*(logs / "serve").glob("*.log"), *logs.glob("worker-*.out")])
        return "".join(path.read_text(errors="replace") for path in found)

    def metrics(self) -> str:
        """What Prometheus would read from all nodes; like it, this leaves out what does not answer."""
        listed = json.loads((self._folder / "prom_metrics_service_discovery.json").read_text())
        texts = []
        for target in listed[0]["targets"]:
            connection = http.client.HTTPConnection(target, timeout=START_S)
            with suppress(OSError, http.client.HTTPException):
                connection.request("GET", "/metrics")
                texts.append(connection.getresponse().read().decode())
            connection.close()
        return "".join(texts)

    def _request(self, method: str, path: str, body: str | None = None) -> tuple[int, str]:
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self._token}"}
        connection = http.client.HTTPConnection(LOOPBACK, self.dashboard_port, timeout=START_S)
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return response.status, response.read().decode("utf-8", "replace")
        finally:
            connection.close()


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.create_server((LOOPBACK, 0)) as server:
        return int(server.getsockname()[1])


def _run(folder: str, dashboard_port: int, cpus: int) -> None:
    """In the cluster's own process: start the nodes, and end them when standard input is closed."""
    from ray.cluster_utils import Cluster

    usual = {"num_cpus": cpus, "object_store_memory": OBJECT_STORE_BYTES}
    head = {"temp_dir": folder, "include_dashboard": True, "dashboard_host": LOOPBACK, "dashboard_port": dashboard_port}
    cluster = Cluster(initialize_head=True, head_node_args={**usual, **head})
    try:
        cluster.add_node(**usual)
        print("ready", flush=True)
        sys.stdin.read()
    finally:
        cluster.shutdown()


if __name__ == "__main__":
    _run(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
