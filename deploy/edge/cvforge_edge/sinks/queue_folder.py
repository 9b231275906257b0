"""Whose a queue's folder is, and how far its records were acknowledged."""

from __future__ import annotations

import contextlib
import os
import struct
import zlib
from pathlib import Path

from cvforge_edge.errors import UsageError

NOTE_NAME, LOCK_NAME = "acknowledged", "lock"
NOTE = struct.Struct(">QI")
"""Number of the record and CRC-32 of the number."""


def lock_folder(folder: Path) -> int:
    """Take a folder for this process alone; the lock ends with the returned descriptor, however the process ends.

    Raises:
        UsageError: another process has it.
        OSError: nothing can be written there.
    """
    import fcntl  # POSIX only, like the rest of what runs as a service

    descriptor = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise UsageError(
            f"{folder}: another process sends to the same place through this queue; give each its own topic or "
            "address, or another --queue FOLDER"
        ) from None
    return descriptor


def read_note(folder: Path) -> int:
    """The newest acknowledged number, 0 where nothing says it: then all that is there is sent again."""
    try:
        data = (folder / NOTE_NAME).read_bytes()
        number, checksum = NOTE.unpack(data)
    except (FileNotFoundError, struct.error):
        return 0
    return int(number) if zlib.crc32(data[:8]) == checksum else 0


def write_note(folder: Path, number: int) -> None:
    """Note the newest acknowledged number in one step; where that fails the old note makes duplicates, and loses nothing."""
    draft = folder / (NOTE_NAME + ".part")
    with contextlib.suppress(OSError):
        draft.write_bytes(NOTE.pack(number, zlib.crc32(number.to_bytes(8, "big"))))
        draft.replace(folder / NOTE_NAME)
