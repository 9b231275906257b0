"""Ray for a bulk prediction: one of our own on this machine, reached by nobody else, or a cluster that exists."""

from __future__ import annotations

import importlib.util
import logging
import math
import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import cvforge_edge
import cvforge_server
from cvforge_edge.backends import BACKENDS
from cvforge_edge.errors import UsageError
from cvforge_edge.standard_error import STANDARD_ERROR
from cvforge_server.bulk.ray_folder import private_folder
from cvforge_server.errors import ServerError

PACKAGES = ("ray", "pyarrow")
INSTALL = 'pip install -e ".[ray]" (or: make install EXTRAS=train,export,ray,dev)'
OBJECT_STORE_BYTES = 100_000_000
"""What goes between processes are names of parts, so the least that Ray takes is plenty."""
REACHABLE_S = 20.0
TOKEN_BYTES = 32
TOKEN_ADVICE = (
    "; it asks for a token: set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN_PATH if it is not in ~/.ray/auth_token"
)
GPU_PROVIDERS = ("CUDAExecutionProvider", "TensorrtExecutionProvider")
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
}
_LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
"""Nodes of a cluster of one machine: Ray then takes 127.0.0.1 as its address, and every server of it listens there alone."""


def require_ray() -> None:
    """Refuse to begin where Ray is not installed.

    Raises:
        UsageError: a package is missing; the message says how to install it.
    """
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(f"--ray: {' and '.join(missing)} not installed; install the extra `ray`: {INSTALL}")


def free_cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def running_ray(address: str | None, *, processors: int) -> Iterator[None]:
    """While inside, Ray runs or is connected to.

    Args:
        address: of a cluster (`HOST:6379`); None starts one of our own, on loopback, without dashboard.
        processors: that a Ray of our own hands out.

    Raises:
        ServerError: it cannot be started or reached.
    """
    os.environ.update({name: os.environ.get(name, value) for name, value in _QUIET.items()})
    if address is None:
        os.environ.update(_LOOPBACK)  # read when Ray is imported
        os.environ["RAY_AUTH_MODE"] = "token"  # other users of this machine reach loopback as well
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(TOKEN_BYTES))
    with ExitStack() as stack:
        temporary = stack.enter_context(private_folder()) if address is None else None
        stack.enter_context(_connected(address, processors=processors, temporary=temporary))
        yield


@contextmanager
def _connected(address: str | None, *, processors: int, temporary: Path | None) -> Iterator[None]:
    import ray

    code = [str(Path(package.__path__[0])) for package in (cvforge_edge, cvforge_server)]
    own = {
        "num_cpus": processors,
        "include_dashboard": False,
        "object_store_memory": OBJECT_STORE_BYTES,
        "_temp_dir": str(temporary),
    }
    try:
        with _silent_standard_error():
            # `local`: not the cluster that RAY_ADDRESS names. Another cluster gets our code, whatever it has.
            ray.init(
                address=address or "local",
                log_to_driver=False,
                logging_level=logging.ERROR,
                **(own if address is None else {"runtime_env": {"py_modules": code}}),
            )
    except Exception as error:  # no narrower type: a machine too busy to start Ray within 30 s gives a bare Exception
        raise not_started(address, error) from None
    try:
        yield
    finally:
        ray.shutdown()


def check_reachable(address: str) -> None:
    """Refuse an address where nothing listens; Ray itself would try for minutes, and say nothing of it.

    Raises:
        UsageError: it is no address.
        ServerError: nothing answers there.
    """
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not host or not port.isdecimal():
        raise UsageError(f"--ray-address: found {address!r}, accepted HOST:PORT, for instance head.example.org:6379")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=REACHABLE_S).close()
    except (OSError, OverflowError) as error:
        raise ServerError(
            f"Ray: --ray-address {address}: it cannot be reached ({error}); is a cluster running there, and the port open?"
        ) from None


def workers_of_cluster(threads: int, *, backend: str) -> int:
    """One worker for each GPU, or for each `threads` processors, of the cluster that is connected."""
    has = resources()
    return max(1, int(has.get("GPU", 0)) if needs_gpu(backend) else int(has.get("CPU", 1)) // threads)


def resources() -> dict[str, float]:
    """What the cluster that is connected has: `CPU`, `GPU` and more."""
    import ray

    return dict(ray.cluster_resources())  # type: ignore[no-untyped-call]


def gpus_per_worker(workers: int, *, backend: str, gpus: float) -> float:
    """The share of a GPU that each worker gets, so that all find place; 0 for what runs on the processor.

    Raises:
        UsageError: the backend needs a GPU and there is none.
    """
    if not needs_gpu(backend):
        return 0.0
    if gpus < 1:
        raise UsageError(f"--backend {backend}: Ray finds no GPU")
    return 1.0 / max(1, math.ceil(workers / gpus))


def needs_gpu(backend: str) -> bool:
    """Whether a backend runs on an NVIDIA GPU, which Ray hands out."""
    return BACKENDS[backend].provider in GPU_PROVIDERS


def not_started(address: str | None, error: Exception) -> ServerError:
    """The error for what `ray.init` raised."""
    where = "it cannot be started here" if address is None else f"--ray-address {address}: it cannot be reached"
    advice = TOKEN_ADVICE if "InvalidAuthToken" in f"{error}{error.__cause__}" else ""
    first_line = (str(error).strip() or type(error).__name__).splitlines()[0]
    return ServerError(f"Ray: {where} ({first_line}{advice})")


@contextmanager
def _silent_standard_error() -> Iterator[None]:
    """While inside, what Ray's core writes past Python is lost; what goes wrong is raised anyway."""
    kept, nowhere = os.dup(STANDARD_ERROR), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, STANDARD_ERROR)
    try:
        yield
    finally:
        os.dup2(kept, STANDARD_ERROR)
        os.close(kept)
        os.close(nowhere)
