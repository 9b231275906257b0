"""A file as it was when its checksum was taken: copied to where nobody can change it before it is used.

Runtimes map a model into memory, so that whoever wrote into the file under way (`cp new.tflite bundle/`) would end the run
with a crash, and a file could be exchanged between its check and its use.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cvforge_edge.errors import BundleError, StorageError
from cvforge_edge.records import dataclass

BLOCK_BYTES = 1 << 18
DESCRIPTORS = Path("/proc/self/fd")
MEMORY = "memory"

logger = logging.getLogger(__name__)


@contextmanager
def private_copy(path: Path, *, sha256: str) -> Iterator[Path]:
    """While inside, a path of this process's own copy; what was opened or mapped by then lasts longer.

    On Linux the copy lies in memory and is sealed: nobody, this process included, can write to it. It costs the room of the
    file once, however many models are loaded from it. Elsewhere, and where the system refuses such files, it is a temporary
    file of this user.

    Args:
        path: of the file; a link at its end is refused.
        sha256: that it must have, 64 lower-case hexadecimal digits.

    Raises:
        BundleError: it cannot be read, or has another SHA-256.
        StorageError: there is no room for the copy.
    """
    with _in_memory(path) or _temporary_file(path) as copy:
        found = _copy(path, copy.descriptor, where=copy.where)
        if found != sha256:
            raise BundleError(
                f"{path}: altered; SHA-256 is {found}, the manifest says {sha256}. Copy the bundle again, "
                "beside the old one, and rename it"
            )
        if copy.where == MEMORY:
            _seal(copy.descriptor)
        yield copy.path


@dataclass(frozen=True)
class _Copy:
    """An empty file of this process, removed at its end.

    Attributes:
        descriptor: open for writing.
        path: by which it is opened again.
        where: it lies, for people.
    """

    descriptor: int
    path: Path
    where: str

    def __enter__(self) -> _Copy:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.descriptor)
        if self.path.parent != DESCRIPTORS:
            self.path.unlink()


def _in_memory(path: Path) -> _Copy | None:
    """None where the system has no such files, or refuses them (a filter of system calls, an old kernel)."""
    if not hasattr(os, "memfd_create") or not DESCRIPTORS.is_dir():
        return None
    try:
        descriptor = os.memfd_create("cvforge-model", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    except OSError as error:
        logger.info("%s: the system refuses files in memory (%s); copied to a temporary file", path, error.strerror)
        return None
    return _Copy(descriptor, DESCRIPTORS / str(descriptor), MEMORY)


def _temporary_file(path: Path) -> _Copy:
    import tempfile  # brings much along that a start on Linux needs not

    try:
        descriptor, name = tempfile.mkstemp(prefix="cvforge-")
    except OSError as error:
        raise StorageError(
            f"{path}: cannot be copied to a temporary file before it is loaded ({error.strerror}); set TMPDIR to a folder "
            "that may be written to"
        ) from None
    folder = str(Path(name).parent)
    if not DESCRIPTORS.is_dir():
        return _Copy(descriptor, Path(name), folder)
    Path(name).unlink()  # a killed process leaves nothing behind
    return _Copy(descriptor, DESCRIPTORS / str(descriptor), folder)


def _seal(descriptor: int) -> None:
    import fcntl

    fcntl.fcntl(
        descriptor,
        fcntl.F_ADD_SEALS,
        fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL,
    )


def _copy(path: Path, descriptor: int, *, where: str) -> str:
    """The SHA-256 of what was copied."""
    digest = hashlib.sha256()
    try:
        source = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0))
        with os.fdopen(source, "rb", buffering=0) as file:
            buffer = memoryview(bytearray(BLOCK_BYTES))
            while count := file.readinto(buffer):
                digest.update(buffer[:count])
                _write(descriptor, buffer[:count], path=path, where=where)
    except OSError as error:
        raise BundleError(f"{path}: cannot be read ({error.strerror}); copy the bundle again") from None
    return digest.hexdigest()


def _write(descriptor: int, data: memoryview, *, path: Path, where: str) -> None:
    try:
        while data:
            data = data[os.write(descriptor, data) :]
    except OSError as error:
        raise StorageError(
            f"{path}: no room for a copy in {where} ({error.strerror}); free some, or run a smaller model"
        ) from None
