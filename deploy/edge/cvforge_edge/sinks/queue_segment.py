"""A part of a queue on disk: records one after the other in a file that only grows."""

from __future__ import annotations

import contextlib
import io
import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from cvforge_edge.draft_folder import flush
from cvforge_edge.records import dataclass

HEADER = struct.Struct(">4sQII")
"""Of a record: `MAGIC`, its number, length of its body, CRC-32 of number and body."""
MAGIC = b"CVQ1"
SUFFIX = ".queue"


@dataclass(frozen=True)
class Record:
    """One body and its place in the queue.

    Attributes:
        number: grows from record to record, also over restarts.
        body: what was put in.
        end: offset behind the record, in bytes.
    """

    number: int
    body: bytes
    end: int


class Segment:
    """A file of records, or the same in memory while the disk takes none.

    Attributes:
        waiting: records that were not acknowledged yet; its owner counts.
        last_number: of its newest record; 0 while there is none.
        size_bytes: length of the file.
    """

    def __init__(self, file: BinaryIO, path: Path | None) -> None:
        self._file, self._path = file, path
        self.waiting = self.last_number = 0
        self.size_bytes = file.seek(0, os.SEEK_END)
        self._synced = True
        self._named = path is None or self.size_bytes > 0

    @classmethod
    def create(cls, folder: Path, first_number: int) -> Segment:
        """A new file.

        Raises:
            OSError: it cannot be created.
        """
        path = folder / f"{first_number:020d}{SUFFIX}"
        return cls(path.open("xb+", buffering=0), path)  # type: ignore[arg-type]  # raw files have what we use

    @classmethod
    def open(cls, path: Path) -> Segment:
        """A file that an earlier process left; it is only read.

        Raises:
            OSError: it cannot be read.
        """
        return cls(path.open("rb", buffering=0), path)  # type: ignore[arg-type]

    @classmethod
    def in_memory(cls) -> Segment:
        """Records that end with this process."""
        return cls(io.BytesIO(), None)

    @property
    def on_disk(self) -> bool:
        """Whether its records outlast this process."""
        return self._path is not None

    def append(self, number: int, body: bytes) -> None:
        """Add a record. It outlasts the death of this process; a power cut only after `sync`.

        Raises:
            OSError: it does not fit; what was written of it is taken back.
        """
        record = encode_record(number, body)
        try:
            self._file.seek(self.size_bytes)
            written = 0
            while written < len(record):
                written += self._file.write(record[written:])
        except OSError:
            with contextlib.suppress(OSError):  # where even that fails, readers skip the torn record
                self._file.truncate(self.size_bytes)
            raise
        self.size_bytes += len(record)
        self.last_number = number
        self._synced = False

    def read(self, offset: int) -> Record | None:
        """The first sound record at or behind `offset`, or None where no further one is; damaged ones are skipped."""
        while offset + HEADER.size <= self.size_bytes:
            header = self._bytes(offset, HEADER.size)
            magic, number, length, checksum = HEADER.unpack(header)
            end = offset + HEADER.size + length
            if magic == MAGIC and end <= self.size_bytes:
                body = self._bytes(offset + HEADER.size, length)
                if _checksum(number, body) == checksum:
                    return Record(number, body, end)
            rest = self._bytes(offset + 1, self.size_bytes - offset - 1)
            skipped = rest.find(MAGIC)
            if skipped < 0:
                return None
            offset += 1 + skipped
        return None

    def records(self) -> Iterator[Record]:
        """Every sound record."""
        offset = 0
        while (record := self.read(offset)) is not None:
            yield record
            offset = record.end

    def empty(self) -> None:
        """Remove every record; the file stays.

        Raises:
            OSError: the file system refuses.
        """
        self._file.truncate(0)
        self.size_bytes = 0
        self._synced = True

    def sync_handle(self) -> int | None:
        """A descriptor of the file to be brought to the disk by the caller, who closes it; None where all is there."""
        if self._synced or self._path is None:
            return None
        self._synced = True
        return os.dup(self._file.fileno())

    def sync_name(self) -> None:
        """Bring the file's name to the disk, once.

        Raises:
            OSError: the disk fails.
        """
        if self._path is not None and not self._named:
            flush(self._path.parent)
            self._named = True

    def close(self) -> None:
        """Release the file; it stays on the disk."""
        self._file.close()

    def remove(self) -> None:
        """Release the file and delete it."""
        self._file.close()
        if self._path is not None:
            with contextlib.suppress(OSError):  # its records would be sent twice after a restart, not lost
                self._path.unlink()

    def _bytes(self, offset: int, length: int) -> bytes:
        self._file.seek(offset)
        found = b""
        while len(found) < length and (part := self._file.read(length - len(found))):
            found += part
        return found


def encode_record(number: int, body: bytes) -> bytes:
    """The bytes of a record."""
    return HEADER.pack(MAGIC, number, len(body), _checksum(number, body)) + body


def _checksum(number: int, body: bytes) -> int:
    return zlib.crc32(body, zlib.crc32(number.to_bytes(8, "big")))
