"""A file as it was when its checksum was taken: copied to where nobody can change it before it is used.

Runtimes map a model into memory, so that whoever wrote into the file under way (`cp new.tflite bundle/`) would end the run
with a crash, and a file could be exchanged between its check and its use.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cvforge_edge.errors import BundleError

BLOCK_BYTES = 1 << 18
DESCRIPTORS = Path("/proc/self/fd")


@contextmanager
def private_copy(path: Path, *, sha256: str) -> Iterator[Path]:
    """While inside, a path of this process's own copy; what was opened or mapped by then lasts longer.

    On Linux the copy lies in memory and is sealed: nobody, this process included, can write to it. It costs the room of the
    file once, however many models are loaded from it. Elsewhere it is a temporary file of this user.

    Args:
        path: of the file; a link at its end is refused.
        sha256: that it must have, 64 lower-case hexadecimal digits.

    Raises:
        BundleError: it cannot be read, or has another SHA-256.
    """
    in_memory = hasattr(os, "memfd_create") and DESCRIPTORS.is_dir()
    descriptor, name = _file_in_memory() if in_memory else _temporary_file()
    try:
        found = _copy(path, descriptor)
        if found != sha256:
            raise BundleError(
                f"{path}: altered; SHA-256 is {found}, the manifest says {sha256}. Copy the bundle again, "
                "beside the old one, and rename it"
            )
        if in_memory:
            _seal(descriptor)
        yield Path(name)
    finally:
        os.close(descriptor)
        if not in_memory:
            Path(name).unlink()


def _file_in_memory() -> tuple[int, str]:
    descriptor = os.memfd_create("cvforge-model", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    return descriptor, str(DESCRIPTORS / str(descriptor))


def _temporary_file() -> tuple[int, str]:
    import tempfile  # brings much along that a start on Linux needs not

    return tempfile.mkstemp(prefix="cvforge-")


def _seal(descriptor: int) -> None:
    import fcntl

    fcntl.fcntl(
        descriptor,
        fcntl.F_ADD_SEALS,
        fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL,
    )


def _copy(path: Path, descriptor: int) -> str:
    """The SHA-256 of what was copied."""
    digest = hashlib.sha256()
    try:
        source = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0))
        with os.fdopen(source, "rb", buffering=0) as file:
            buffer = memoryview(bytearray(BLOCK_BYTES))
            while count := file.readinto(buffer):
                digest.update(buffer[:count])
                _write(descriptor, buffer[:count])
    except OSError as error:
        raise BundleError(f"{path}: cannot be read into memory ({error.strerror}); copy the bundle again") from None
    return digest.hexdigest()


def _write(descriptor: int, data: memoryview) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
