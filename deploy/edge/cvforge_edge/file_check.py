"""Whether the files of a folder are what a manifest says, found out on threads while the caller does something else."""

from __future__ import annotations

import hashlib
import os
import stat
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from cvforge_edge.listed_files import BundleFile, ModelFile

HASH_BLOCK_BYTES = 1 << 18
MOST_HELPERS = 3
"""Threads that compute checksums beside the caller."""
Said: TypeAlias = tuple[str, str, int]
"""Path, SHA-256 and size."""


class FileCheck:
    """Compares presence, kind, size and SHA-256 of files; used as a context manager, which ends its threads.

    Checksums are much of what a start waits for, and while they are computed others can use the interpreter.

    Args:
        folder: where the files lie.
        expected: what is probably said about them, to begin with.
    """

    def __init__(self, folder: Path, expected: Sequence[ModelFile | BundleFile]) -> None:
        self._folder = folder
        self._found: dict[Said, list[str]] = {}
        self._waiting = iter(sorted(expected, key=lambda file: -file.size_bytes))
        self._failures: list[BaseException] = []
        self._given_up = False
        count = min(MOST_HELPERS, max(1, (os.cpu_count() or 1) - 1))
        self._helpers = [threading.Thread(target=self._work, name="checksums", daemon=True) for _ in range(count)]
        for helper in self._helpers:
            helper.start()

    def problems(self, files: Sequence[ModelFile | BundleFile]) -> list[str]:
        """What is wrong with these files, in their order; waits for the threads, and helps them.

        Args:
            files: what is said about them for certain: one that was not expected so is looked at now.
        """
        self._work()
        for helper in self._helpers:
            helper.join()
        if self._failures:
            raise self._failures[0]
        return [problem for file in files for problem in self._problems_of(file)]

    def __enter__(self) -> FileCheck:
        return self

    def __exit__(self, *_: object) -> None:
        self._given_up = True
        for helper in self._helpers:
            helper.join()

    def _work(self) -> None:
        try:
            for file in self._waiting:  # each comes once: the interpreter lets one thread at a time into an iterator
                if self._given_up:
                    return
                self._found[_said(file)] = file_problems(self._folder, file)
        except BaseException as error:  # raised again by the calling thread
            self._failures.append(error)

    def _problems_of(self, file: ModelFile | BundleFile) -> list[str]:
        found = self._found.get(_said(file))
        return file_problems(self._folder, file) if found is None else found


def file_sha256(path: Path | str, *, given_up: Callable[[], bool] = bool) -> str:
    """SHA-256 of a file as 64 lower-case hexadecimal digits, in constant memory; of its beginning once `given_up`."""
    digest = hashlib.sha256()
    buffer = memoryview(bytearray(HASH_BLOCK_BYTES))
    with Path(path).open("rb", buffering=0) as file:
        while (count := file.readinto(buffer)) and not given_up():
            digest.update(buffer[:count])
    return digest.hexdigest()


def file_problems(folder: Path, file: ModelFile | BundleFile) -> list[str]:
    """What is wrong with one file; links are refused wherever they lie inside the folder."""
    return kind_problems(folder, file) or content_problems(folder, file)


def kind_problems(folder: Path, file: ModelFile | BundleFile) -> list[str]:
    """What is wrong with one file without a look into it: whether it is there, a plain file, and as long as it should be."""
    path = folder
    for part in file.path.split("/"):
        path = path / part
        try:
            status = path.lstat()
        except OSError:
            return [f"{file.path}: missing"]
        if stat.S_ISLNK(status.st_mode):
            return [f"{file.path}: is or goes through a link; a bundle holds plain files"]
    if not stat.S_ISREG(status.st_mode):
        return [f"{file.path}: is not a plain file"]
    if status.st_size != file.size_bytes:
        return [f"{file.path}: {status.st_size} bytes, but the manifest says {file.size_bytes}"]
    return []


def content_problems(folder: Path, file: ModelFile | BundleFile, *, given_up: Callable[[], bool] = bool) -> list[str]:
    """What is wrong with what is in one file; nothing that is known once `given_up`."""
    try:
        found = file_sha256(folder / file.path, given_up=given_up)
    except OSError as error:
        return [f"{file.path}: cannot be read ({error.strerror})"]
    if found == file.sha256 or given_up():
        return []
    return [f"{file.path}: altered; SHA-256 is {found}, the manifest says {file.sha256}"]


def _said(file: ModelFile | BundleFile) -> Said:
    return file.path, file.sha256, file.size_bytes
