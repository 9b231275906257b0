"""What a server is started with: its configuration, written into a folder of its own."""

from __future__ import annotations

import importlib.util
import json
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cvforge_edge.errors import UsageError
from cvforge_edge.records import dataclass
from cvforge_server.errors import ServerError
from cvforge_server.images import BYTES_PER_MB, LARGEST_ANSWER_MB
from cvforge_server.torchserve.meters import DECLARED
from cvforge_server.torchserve.server_logs import LOG_CONFIG_NAME, log_configuration

CONFIG_NAME, METRICS_NAME, KEYS_NAME, STATE_NAME = "config.properties", "metrics.yaml", "key_file.json", "server.json"
LOGS = "logs"
MINUTES_PER_DAY = 24 * 60
HEADROOM_MB = 50
"""TorchServe ends a worker over an answer beyond its own limit, which is therefore above the largest that an archive can have."""
LOOPBACK = "127.0.0.1"
JAVA_OPTIONS = "-XX:+ExitOnOutOfMemoryError -XX:+UseSerialGC -XX:TieredStopAtLevel=1"
"""It hands bytes on: what its second compiler gains is less than what that costs for the first thousands of requests."""
LOCKED = {
    "disable_token_authorization": "false",
    "enable_model_api": "false",  # nobody registers models, and thereby code, while it runs
    "allowed_urls": "file:///none",
    "use_env_allowed_urls": "false",
    "enable_envvars_config": "false",
    "install_py_dep_per_model": "false",
    "decode_input_request": "false",  # the handler does; JSON that is none would end the worker here
    "limit_max_image_pixels": "true",
}
"""What no option changes: who may do what, and what is read before our code is asked."""
COPIES = 2
"""Of a request in Java's memory: 40 of 12 MB ended a server with a heap of 512 MB, 10 of 25 MB did not."""


@dataclass(frozen=True)
class Ports:
    """Where the server listens; all but the first two serve machines of ours, not clients.

    Attributes:
        inference: HTTP.
        grpc: for clients by gRPC, without which TorchServe does not start.
        management: HTTP, always on loopback.
        metrics: for Prometheus, always on loopback.
        grpc_management: by gRPC, always on loopback.
    """

    inference: int
    grpc: int
    management: int
    metrics: int
    grpc_management: int

    @classmethod
    def beginning_at(cls, port: int) -> Ports:
        """Five in a row.

        Raises:
            UsageError: one of them does not exist.
        """
        if not 1 <= port <= 65535 - 4:
            raise UsageError(f"--port: found {port}, accepted 1 to {65535 - 4}: five ports in a row are used")
        return cls(*range(port, port + 5))

    def check_free(self, *, host: str, grpc_host: str) -> None:
        """Hold that the server can listen there.

        Raises:
            UsageError: an address is none of this machine.
            ServerError: a port is taken.
        """
        _check_address("--host", host)
        _check_address("--grpc-host", grpc_host)
        hosts = {"inference": host, "grpc": grpc_host}
        for name, port in vars(self).items():
            try:
                socket.create_server((hosts.get(name, LOOPBACK), port)).close()
            except OSError as error:
                raise ServerError(f"port {port} ({name}): {error.strerror}; choose another --port") from None


@dataclass(frozen=True)
class ServerConfig:
    """How a server runs.

    Attributes:
        store: folder of archives.
        models: file or folder name of each archive in the store, by the name under which it is served.
        ports: where it listens.
        host: address for clients; loopback unless told otherwise.
        grpc_host: likewise for those that come by gRPC.
        open_inference: whether TorchServe's own half of the open inference protocol is there: states by HTTP, and all by gRPC.
        token_days: how long the tokens are valid that it makes at its start.
        request_mb: largest body of a request, in MB of 10^6 bytes.
        queue: requests that may wait for workers of one model; more are refused with 503.
        heap_mb: memory for Java, where requests wait, which ends the server when it does not suffice; and as much again for
            bodies while they arrive, which are refused with 507, or cut off, when that does not suffice.
        gpus: that workers are spread over.
        console: whether logs go to standard output as well, as containers want it.
    """

    store: Path
    models: dict[str, str]
    ports: Ports
    host: str = LOOPBACK
    grpc_host: str = LOOPBACK
    open_inference: bool = False
    token_days: int = 365
    request_mb: float = 30.0
    queue: int = 20
    heap_mb: int = 1200
    gpus: int = 0
    console: bool = False

    @property
    def waiting_mb(self) -> float:
        """What Java needs where every queue is full of the largest requests; each lies there twice while it goes to a worker."""
        return COPIES * len(self.models) * self.queue * self.request_mb

    def properties(self, folder: Path) -> str:
        """The content of TorchServe's `config.properties`.

        Args:
            folder: of the server, which holds what this refers to.
        """
        values = {
            **self._addresses(),
            **LOCKED,
            "model_store": self.store.resolve(),
            "load_models": ",".join(f"{name}={archive}" for name, archive in self.models.items()),
            "token_expiration_min": self.token_days * MINUTES_PER_DAY,
            "max_request_size": round(self.request_mb * BYTES_PER_MB),
            "max_response_size": round((LARGEST_ANSWER_MB + HEADROOM_MB) * BYTES_PER_MB),
            "job_queue_size": self.queue,
            "number_of_gpu": self.gpus,
            "metrics_mode": "prometheus",
            "metrics_config": (folder / METRICS_NAME).resolve(),
            "disable_system_metrics": "true",
            "ts_open_inference_protocol": str(self.open_inference).lower(),  # `oip` is what the environment would say
            "async_logging": "true",
            "vmargs": self._java_options(folder),
        }
        return "".join(f"{name}={_escaped(str(value))}\n" for name, value in values.items())

    def _addresses(self) -> dict[str, str | int]:
        ports = self.ports
        return {
            "inference_address": f"http://{self.host}:{ports.inference}",
            "management_address": f"http://{LOOPBACK}:{ports.management}",
            "metrics_address": f"http://{LOOPBACK}:{ports.metrics}",
            "grpc_inference_address": self.grpc_host,
            "grpc_inference_port": ports.grpc,
            "grpc_management_address": LOOPBACK,
            "grpc_management_port": ports.grpc_management,
        }

    def _java_options(self, folder: Path) -> str:
        """TorchServe divides them at spaces, which an address of a file has none of."""
        log_config = (folder / LOG_CONFIG_NAME).resolve().as_uri()
        memory = f"-Xmx{self.heap_mb}m -XX:MaxDirectMemorySize={self.heap_mb}m"
        return f"{memory} {JAVA_OPTIONS} -Dlog4j.configurationFile={log_config}"

    def write(self, folder: Path) -> None:
        """Write the files into a folder that only this user can look into, made where it is missing.

        Raises:
            OSError: they cannot be written.
        """
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder.chmod(0o700)  # the tokens will lie there
        (folder / LOGS).mkdir(exist_ok=True)
        (folder / METRICS_NAME).write_text(json.dumps(_metrics(), indent=2) + "\n", encoding="utf-8")
        (folder / LOG_CONFIG_NAME).write_text(log_configuration(console=self.console), encoding="utf-8")
        (folder / CONFIG_NAME).write_text(self.properties(folder), encoding="utf-8")


def archives_in(store: Path, names: Sequence[str]) -> dict[str, str]:
    """The archives of a store by name: those that are named, or all.

    Raises:
        UsageError: the store has no such archive, or none at all.
    """
    advice = "make one with tools/serve.py archive --bundle BUNDLE"
    found = {}
    for path in sorted(store.iterdir()) if store.is_dir() else ():
        if path.suffix == ".mar" and path.is_file():
            found[path.stem] = path.name
        elif (path / "MAR-INF" / "MANIFEST.json").is_file() and not path.name.startswith("."):
            found[path.name] = path.name
    if not found:
        raise UsageError(f"{store}: no archive is there; {advice}, or name another folder with --store")
    missing = [name for name in names if name not in found]
    if missing:
        raise UsageError(f"{store}: no archive {', '.join(missing)}; found {', '.join(found)}; {advice}")
    return {name: found[name] for name in names or found}


def _check_address(option: str, address: str) -> None:
    """On whatever port is free."""
    try:
        with socket.socket() as probe:
            probe.bind((address or "none", 0))
    except (OSError, UnicodeError) as error:
        raise UsageError(
            f"{option} {address!r}: no IPv4 address of this machine ({error}); accepted {LOOPBACK}, 0.0.0.0 for all that it "
            "has, or one of them"
        ) from None


def _escaped(value: str) -> str:
    """A value as Java reads it from a file of properties.

    Source: java.util.Properties.load, Java SE 17.

    Raises:
        UsageError: it is a path that Java cannot open: no text, or with emoji, of which it fails below such a folder.
    """
    wrong = [letter for letter in value if letter > "\uffff" or "\ud800" <= letter <= "\udfff"]
    if wrong:
        raise UsageError(
            f"{value!a}: Java cannot open it because of {wrong[0]!a}; rename the folder, or choose another"
        )
    escapes = (letter if " " <= letter <= "~" else f"\\u{ord(letter):04x}" for letter in value.replace("\\", "\\\\"))
    return "".join(escapes)


def _metrics() -> dict[str, Any]:
    """TorchServe's own metrics and ours; JSON is YAML."""
    import yaml

    place = importlib.util.find_spec("ts")
    if place is None or place.origin is None:
        raise ServerError('torchserve is not installed; in a clone of CVForge: pip install -e ".[server]"')
    text = (Path(place.origin).parent / "configs" / "metrics.yaml").read_text(encoding="utf-8")
    declared: dict[str, Any] = yaml.safe_load(text)
    model_metrics = declared.setdefault("model_metrics", {})
    for kind, entries in DECLARED.items():
        model_metrics.setdefault(kind, []).extend(entries)
    return declared
