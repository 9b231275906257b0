"""A text file that grows line by line, and is set aside when it gets too large."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from pathlib import Path
from typing import TextIO

from cvforge_edge.errors import StorageError
from cvforge_edge.sinks.rotation import Rotation, set_aside

FLUSH_EVERY_S = 0.5
"""A reader of the file, or a power cut, is at most this far behind."""
STANDARD_OUTPUT = "-"
EINVAL, ENOTSUP = 22, 95


class LineFile:
    """Writes lines to a file, or to standard output."""

    def __init__(self, path: str, *, rotation: Rotation | None = None, header: str | None = None) -> None:
        """Create the file. One that is there already is replaced, or with `rotation` set aside.

        Args:
            path: the file, or `-` for standard output, which cannot be set aside.
            rotation: None lets the file grow without a limit.
            header: first line of each file, without line break.

        Raises:
            StorageError: the file cannot be created.
        """
        self._path, self._rotation, self._header = path, rotation, header
        self._count = self._stored = self._size_bytes = 0
        self._closed = False
        self._flushed_s = time.monotonic()
        try:
            if rotation is not None and Path(path).exists() and Path(path).stat().st_size > 0:
                set_aside(Path(path), keep=rotation.keep)
            self._file = self._open()
        except OSError as error:
            raise StorageError(
                f"{path}: cannot be created ({error.strerror}); name a file in a folder that exists and may be "
                "written to"
            ) from error

    @property
    def place(self) -> str:
        """Where the lines go, for people."""
        return "standard output" if self._path == STANDARD_OUTPUT else self._path

    @property
    def count(self) -> int:
        """Lines written, headers left out."""
        return self._count

    def write(self, line: str) -> None:
        """Add one line; it reaches the file within `FLUSH_EVERY_S`, as long as lines come or `flush_if_due` is called.

        Args:
            line: without its line break at the end.

        Raises:
            StorageError: it cannot be stored.
        """
        size_bytes = len(line.encode("utf-8")) + 1
        try:
            if self._rotation is not None and self._size_bytes + size_bytes > self._rotation.limit_bytes:
                self._rotate(self._rotation)
            self._file.write(line + "\n")
            self._size_bytes += size_bytes
            self._count += 1
        except OSError as error:
            raise self._lost(error) from error
        self.flush_if_due()

    def flush_if_due(self) -> None:
        """Let readers see the newest lines, if the last time is long enough ago.

        Raises:
            StorageError: they cannot be stored.
        """
        if self._closed or self._stored == self._count or time.monotonic() - self._flushed_s < FLUSH_EVERY_S:
            return
        try:
            self._file.flush()
        except OSError as error:
            raise self._lost(error) from error
        self._stored, self._flushed_s = self._count, time.monotonic()

    def close(self) -> None:
        """Bring every line to the disk; may be called twice.

        Raises:
            StorageError: the last lines cannot be stored.
        """
        if self._closed:
            return
        self._closed = True
        try:
            self._finish()
        except OSError as error:
            _abandon(self._file)
            raise self._lost(error) from error

    def _open(self) -> TextIO:
        self._size_bytes = 0
        # Stays open until close(): one line for each frame.
        file = sys.stdout if self._path == STANDARD_OUTPUT else Path(self._path).open("w", encoding="utf-8", newline="")  # noqa: SIM115
        if self._header is not None:
            file.write(self._header + "\n")
            self._size_bytes = len(self._header.encode("utf-8")) + 1
        return file

    def _rotate(self, rotation: Rotation) -> None:
        if self._size_bytes <= len((self._header or "").encode("utf-8")) + 1:
            return  # a single line is longer than a file may be: it gets a file of its own
        self._finish()
        self._stored = self._count
        set_aside(Path(self._path), keep=rotation.keep)
        self._file = self._open()

    def _finish(self) -> None:
        self._file.flush()
        if self._path != STANDARD_OUTPUT:
            _sync(self._file)
            self._file.close()

    def _lost(self, error: OSError) -> StorageError:
        if isinstance(error, BrokenPipeError):
            return StorageError(f"{self._path}: the program that reads the lines has ended")
        return StorageError(
            f"{self._path}: cannot be written ({error.strerror}); the first {self._stored} lines are stored, the "
            "last one may be cut off. Free space on the disk, or write elsewhere"
        )


def _sync(file: TextIO) -> None:
    try:
        os.fsync(file.fileno())
    except OSError as error:
        if error.errno not in (EINVAL, ENOTSUP):  # a pipe or a device has nothing to bring to a disk
            raise


def _abandon(file: TextIO) -> None:
    """Close a file whose failure to write is reported already: closing it, or ending Python, tries to write again."""
    with contextlib.suppress(OSError):
        if file is sys.stdout:
            with Path(os.devnull).open("w") as nowhere:
                os.dup2(nowhere.fileno(), file.fileno())
        else:
            file.close()
