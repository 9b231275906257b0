"""Clients that ask one model over HTTP without a pause, and what became of every one of their requests."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections import Counter
from collections.abc import Mapping
from types import TracebackType
from typing import Any

TIMEOUT_S = 120.0
MS_PER_S = 1000.0


class Load:
    """So many clients, each with a connection of its own, from `with` to its end.

    Args:
        port: of loopback.
        path: of the model.
        image: content of a file.
        clients: at once.
        expected: `results` of an answer, by the fingerprint of the model that gives it; None where they are not compared.

    Attributes:
        answered: requests by the version of the model that answered them with 200.
        failed: what was said instead, or why nothing was.
        wrong: answers with other results than expected.
        longest_ms: for which a client waited.
    """

    def __init__(
        self,
        port: int,
        path: str,
        *,
        image: bytes,
        clients: int,
        expected: Mapping[str, Any] | None = None,
    ) -> None:
        self._port, self._path, self._image, self._expected = port, path, image, expected
        self._stop, self._lock = threading.Event(), threading.Lock()
        self._threads = [threading.Thread(target=self._run) for _ in range(clients)]
        self.answered: Counter[int] = Counter()
        self.fingerprints: set[str] = set()
        self.failed: list[str] = []
        self.wrong: list[str] = []
        self.longest_ms = 0.0

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    @property
    def count(self) -> int:
        """Requests that have an answer."""
        return sum(self.answered.values())

    def _run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=TIMEOUT_S)
        while not self._stop.is_set():
            started_s = time.perf_counter()
            try:
                connection.request("POST", self._path, self._image, {"Content-Type": "application/octet-stream"})
                response = connection.getresponse()
                status, body = response.status, response.read()
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                status, body = 0, repr(error).encode()
            self._note(status, body, (time.perf_counter() - started_s) * MS_PER_S)
        connection.close()

    def _note(self, status: int, body: bytes, took_ms: float) -> None:
        with self._lock:
            self.longest_ms = max(self.longest_ms, took_ms)
            if status != 200:
                self.failed.append(f"{status}: {body[:300]!r}")
                return
            answer = json.loads(body)
            self.answered[answer["model"]["version"]] += 1
            self.fingerprints.add(answer["model"]["fingerprint"])
            if self._expected is not None and answer["results"] != self._expected[answer["model"]["fingerprint"]]:
                self.wrong.append(f"{answer['results']}"[:300])
