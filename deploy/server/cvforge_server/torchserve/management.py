"""TorchServe's management interface: which models there are, and whether their workers are ready."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from typing import Any

from cvforge_edge.records import dataclass
from cvforge_server.errors import ServerError
from cvforge_server.torchserve.server_files import LOOPBACK

TIMEOUT_S = 5.0
OK = 200
READY = "READY"


@dataclass(frozen=True)
class ModelState:
    """A model on the server.

    Attributes:
        name: under which it is served.
        version: of the bundle.
        wanted: workers that it should have.
        workers: status of each that there is, by process id; a worker that is being started has 0.
    """

    name: str
    version: str
    wanted: int
    workers: tuple[tuple[int, str], ...]

    @property
    def ready(self) -> bool:
        """Whether every worker takes requests."""
        return 0 < self.wanted <= sum(status == READY for _, status in self.workers)

    def line(self) -> str:
        """For people."""
        good = sum(status == READY for _, status in self.workers)
        return f"{self.name} version {self.version}: {good} of {self.wanted} workers ready"


class Management:
    """Asks a server on this machine.

    Args:
        port: of its management interface.
        token: that it made for it.
    """

    def __init__(self, port: int, *, token: str) -> None:
        self._port, self._token = port, token

    def model(self, name: str) -> ModelState:
        """How a model is.

        Raises:
            ServerError: the server does not answer, or has no such model.
        """
        found = self._get(f"/models/{name}")
        value = found[0] if isinstance(found, list) and found else None
        if not isinstance(value, Mapping):
            raise ServerError(f"model {name}: the server's answer cannot be read: {json.dumps(found)[:200]}")
        workers = tuple((int(worker.get("pid", 0)), str(worker["status"])) for worker in value["workers"])
        return ModelState(name, str(value["modelVersion"]), int(value["minWorkers"]), workers)

    def _get(self, path: str) -> Any:
        connection = http.client.HTTPConnection(LOOPBACK, self._port, timeout=TIMEOUT_S)
        try:
            connection.request("GET", path, headers={"Authorization": f"Bearer {self._token}"})
            response = connection.getresponse()
            body = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise ServerError(f"port {self._port} (management): no answer ({error})") from None
        finally:
            connection.close()
        if response.status != OK:
            raise ServerError(f"port {self._port} (management): {path}: status {response.status}")
        try:
            return json.loads(body)
        except ValueError:
            raise ServerError(f"port {self._port} (management): {path}: no JSON") from None
