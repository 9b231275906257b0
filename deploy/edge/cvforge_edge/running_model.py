"""The model that a run uses: kept as it was when it was checked, so that more can be loaded whatever becomes of its file."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from cvforge_edge.backends import open_backend
from cvforge_edge.predictor import choose_model

if TYPE_CHECKING:
    from cvforge_edge.backends import Backend
    from cvforge_edge.bundle import Bundle


class RunningModel:
    """One model file of a bundle in a private copy, which stays until it is closed.

    Runtimes that map the copy share its memory; for others it costs the size of the file.

    Args:
        bundle: an open one.
        backend: name of the backend; None for the preferred one.
        precision: of the model; None takes the first that the backend runs.

    Raises:
        EdgeError: no model fits, no backend for it is installed, or its file was altered.
    """

    def __init__(self, bundle: Bundle, *, backend: str | None, precision: str | None) -> None:
        self.bundle = bundle
        self._file, self._backend = choose_model(bundle, backend=backend, precision=precision)
        self._copy = ExitStack()
        self._path = self._copy.enter_context(bundle.copy_of(self._file))
        self._lock, self._users, self._closed = threading.Lock(), 1, False

    def open(self, *, threads: int) -> Backend:
        """Load it, with so many threads for one inference.

        Raises:
            BackendError: the runtime is not installed, or it cannot load the model.
        """
        return open_backend(self._backend, self._path, threads=threads, where=self.bundle.path_of(self._file))

    @contextmanager
    def kept(self) -> Iterator[RunningModel]:
        """While inside, the copy stays, also where its owner closes it meanwhile; entered before that."""
        with self._lock:
            self._users += 1
        try:
            yield self
        finally:
            self._leave()

    def close(self) -> None:
        """Let the copy go as soon as nobody loads from it; waits for nobody, and may be called twice."""
        with self._lock:
            closed, self._closed = self._closed, True
        if not closed:
            self._leave()

    def _leave(self) -> None:
        with self._lock:
            self._users -= 1
            unused = self._users == 0
        if unused:
            self._copy.close()
