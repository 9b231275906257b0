"""The files of a bundle that a run does not use: looked into while it runs already."""

from __future__ import annotations

import threading
from collections.abc import Callable

from cvforge_edge.bundle import Bundle, raise_problems
from cvforge_edge.file_check import content_problems, file_sha256
from cvforge_edge.listed_files import MANIFEST_NAME

FIRST_S = 1.0
"""So long the thread leaves the processor to the first results, unless somebody waits for it."""


class RestOfBundle:
    """Takes the SHA-256 of every file of a bundle on a thread; used as a context manager, which ends it.

    The model that runs is loaded from bytes that were checked (`Bundle.copy_of`); the others wait for the next start, and for
    whoever copies the bundle on. Most of what is in a bundle is not the model that runs, and a board without instructions for
    SHA-256 needs a third of a second for 50 MB.

    Args:
        bundle: that runs; nothing is done where all of it was looked into before (`Bundle.whole`).
        on_problem: called on the thread once a file is not what the manifest says.
    """

    def __init__(self, bundle: Bundle, *, on_problem: Callable[[], None]) -> None:
        self._bundle, self._on_problem = bundle, on_problem
        self._problems: list[str] = []
        self._given_up, self._awaited = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._work, name="rest of the bundle", daemon=True)

    def __enter__(self) -> RestOfBundle:
        if not self._bundle.whole:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._given_up.set()
        self._join()

    def finish(self, *, wait: bool) -> None:
        """Say what is wrong.

        Args:
            wait: whether for the whole answer, or only for what is known by now.

        Raises:
            BundleError: files were altered; the message names every one that is known.
        """
        if not wait:
            self._given_up.set()
        self._join()
        raise_problems(self._bundle.folder, self._problems)

    def _join(self) -> None:
        self._awaited.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _work(self) -> None:
        folder, given_up = self._bundle.folder, self._given_up.is_set
        self._awaited.wait(FIRST_S)
        found = []
        for file in sorted(self._bundle.manifest.files, key=lambda file: file.size_bytes):
            found += content_problems(folder, file, given_up=given_up)
        if found and self._still_there():
            self._problems = found
            self._on_problem()

    def _still_there(self) -> bool:
        """Whether the folder holds the bundle that was opened: a new one that took its place is not a damaged one."""
        try:
            return file_sha256(self._bundle.folder / MANIFEST_NAME) == self._bundle.manifest_sha256
        except OSError:
            return False
