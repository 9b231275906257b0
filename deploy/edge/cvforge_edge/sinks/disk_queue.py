"""A queue of messages that outlives the process: put in by one thread, taken out by another, in order.

Layout of its folder: `<number of the first record>.queue`, each at most a sixteenth of the limit, see `queue_segment`;
`acknowledged`, the number of the newest record that need not be sent again; `lock`, held by the process that uses it.

- Killed (`kill -9`) at any moment, the queue holds every message that `append` took and nobody acknowledged. Of the
  acknowledged ones those of the last second may come again.
- A power cut takes at most the messages of the last `SYNC_AFTER_S` seconds: what waits longer is synced (`fsync`) by a
  thread of its own. What is acknowledged sooner is never synced, so that a working connection does not wear out an SD card.
- A torn or damaged record is skipped, and all others are read.
- Above the limit the oldest sixteenth is dropped and counted: what a camera sees now is worth more.
- While the disk is full or fails, messages wait in memory, at most `MEMORY_BYTES`; the disk is tried again every
  `RETRY_DISK_S` seconds.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections import deque
from pathlib import Path
from types import TracebackType

from cvforge_edge.errors import StorageError
from cvforge_edge.sinks.queue_folder import lock_folder, read_note, write_note
from cvforge_edge.sinks.queue_segment import SUFFIX, Record, Segment

MB = 1_000_000
SEGMENTS = 16
LARGEST_SEGMENT_BYTES = 4 * MB
EMPTY_AFTER_BYTES = 256 * 1024
"""A file whose records are all acknowledged is emptied from this size on."""
SYNC_AFTER_S = 1.0
NOTE_EVERY_S = 1.0
RETRY_DISK_S = 5.0
MEMORY_BYTES = 4 * MB
MEMORY_SEGMENT_BYTES = MEMORY_BYTES // 16

logger = logging.getLogger(__name__)


class DiskQueue:
    """Records in order; `read` goes ahead, `acknowledge` removes, `rewind` reads again what was not acknowledged.

    Args:
        folder: of this queue alone; created if needed, readable by its owner only.
        limit_bytes: how much may wait on the disk, at least 1 MB.

    Raises:
        StorageError: the folder cannot be created or read.
        UsageError: another process uses it.
    """

    def __init__(self, folder: Path, *, limit_bytes: int) -> None:
        self._folder, self._limit_bytes = folder, limit_bytes
        self._segment_bytes = min(limit_bytes // SEGMENTS, LARGEST_SEGMENT_BYTES)
        self._access = threading.Lock()
        self._changed, self._closing = threading.Event(), threading.Event()
        self._dropped = 0
        self._read_but_waiting: deque[int] = deque()
        self._early: set[int] = set()
        self._noted_s = self._disk_tried_s = -RETRY_DISK_S
        self._disk_failed = False
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock_descriptor = lock_folder(folder)
            self._acknowledged = read_note(folder)
            self._segments = self._open_segments()
        except OSError as error:
            raise StorageError(
                f"{folder}: the queue of unsent messages cannot be kept here ({error.strerror}); name a folder that may "
                "be written to with --queue, on a read-only system one in memory (/run/cvforge)"
            ) from error
        self._reading, self._offset = self._segments[0], 0
        self._syncing = threading.Thread(target=self._sync_late, name="sync queue", daemon=True)
        self._syncing.start()

    @property
    def waiting(self) -> int:
        """Records that were not acknowledged."""
        with self._access:
            return sum(segment.waiting for segment in self._segments)

    @property
    def dropped(self) -> int:
        """Records that were given up because the limit or the memory was full."""
        return self._dropped

    @property
    def only_in_memory(self) -> int:
        """Records that wait and would not outlive this process, because the disk takes none."""
        with self._access:
            return sum(segment.waiting for segment in self._segments if not segment.on_disk)

    def append(self, body: bytes) -> None:
        """Put a record in; never waits for the disk's surface, and never fails: what finds no room is counted."""
        with self._access:
            if self._closing.is_set():
                return
            if len(body) > self._limit_bytes // 4:
                self._dropped += 1
                return
            self._number += 1
            if self._newest_is_full(len(body)):
                self._begin_segment()
            try:
                self._segments[-1].append(self._number, body)
            except OSError as error:
                self._note_disk_failure(error)
                self._segments.append(Segment.in_memory())
                self._segments[-1].append(self._number, body)
            self._segments[-1].waiting += 1
            self._remove_finished()
            self._keep_limits()
        self._changed.set()

    def read(self) -> Record | None:
        """The next record that was not read since the last `rewind`; None when there is none."""
        with self._access:
            while not self._closing.is_set():
                try:
                    record = self._reading.read(self._offset)
                except OSError as error:
                    self._note_disk_failure(error)
                    return None
                if record is None:
                    if self._reading is self._segments[-1]:
                        return None
                    self._reading, self._offset = self._segments[self._segments.index(self._reading) + 1], 0
                    continue
                self._offset = record.end
                if record.number > self._acknowledged:
                    self._read_but_waiting.append(record.number)
                    return record
            return None

    def acknowledge(self, number: int) -> None:
        """A record arrived: it is not read again, and leaves the disk with its neighbours."""
        with self._access:
            if self._closing.is_set() or number not in self._read_but_waiting:
                return  # dropped meanwhile, or acknowledged twice
            self._early.add(number)
            while self._read_but_waiting and self._read_but_waiting[0] in self._early:
                self._acknowledged = self._read_but_waiting.popleft()
                self._early.discard(self._acknowledged)
                self._count_acknowledged(self._acknowledged)
            if time.monotonic() - self._noted_s >= NOTE_EVERY_S:
                self._write_note()

    def rewind(self) -> None:
        """Read again from the first record that was not acknowledged."""
        with self._access:
            self._reading, self._offset = self._segments[0], 0
            self._read_but_waiting.clear()
            self._early.clear()

    def close(self) -> None:
        """Bring what waits to the disk, for the next start; may be called twice."""
        if self._closing.is_set():
            return
        self._closing.set()
        self._changed.set()
        self._syncing.join(SYNC_AFTER_S)
        self._sync()
        with self._access:
            self._write_note()
            self._dropped += sum(segment.waiting for segment in self._segments if not segment.on_disk)
            for segment in self._segments:
                if segment.waiting and segment.on_disk:
                    segment.close()
                else:
                    segment.remove()
            os.close(self._lock_descriptor)

    def __enter__(self) -> DiskQueue:
        return self

    def __exit__(self, _kind: type[BaseException] | None, _error: object, _traceback: TracebackType | None) -> None:
        self.close()

    def _open_segments(self) -> list[Segment]:
        """What earlier processes left, and a new file behind it."""
        segments = []
        self._number = self._acknowledged
        for path in sorted(self._folder.glob(f"*{SUFFIX}")):
            self._number = max(self._number, int(path.stem) if path.stem.isdecimal() else 0)
            segment = Segment.open(path)
            for record in segment.records():
                segment.last_number = max(segment.last_number, record.number)
                segment.waiting += record.number > self._acknowledged
            self._number = max(self._number, segment.last_number)
            if segment.waiting:
                segments.append(segment)
            else:
                segment.remove()
        return [*segments, Segment.create(self._folder, self._number + 1)]

    def _newest_is_full(self, length: int) -> bool:
        newest = self._segments[-1]
        if newest.on_disk:
            return newest.size_bytes > 0 and newest.size_bytes + length > self._segment_bytes
        return newest.size_bytes > MEMORY_SEGMENT_BYTES or time.monotonic() - self._disk_tried_s >= RETRY_DISK_S

    def _begin_segment(self) -> None:
        segment = Segment.in_memory()
        if not self._disk_failed or time.monotonic() - self._disk_tried_s >= RETRY_DISK_S:
            try:
                segment = Segment.create(self._folder, self._number)
            except OSError as error:
                self._note_disk_failure(error)
        self._segments.append(segment)
        self._remove_finished()

    def _note_disk_failure(self, error: OSError) -> None:
        if not self._disk_failed:
            logger.warning(
                "%s: the disk fails (%s); unsent messages wait in memory, at most %d MB",
                self._folder,
                error.strerror,
                MEMORY_BYTES // MB,
            )
        self._disk_failed, self._disk_tried_s = True, time.monotonic()

    def _keep_limits(self) -> None:
        if self._disk_failed and self._segments[-1].on_disk:
            self._disk_failed = False
            logger.info("%s: the disk takes unsent messages again", self._folder)
        for on_disk, limit_bytes in ((True, self._limit_bytes), (False, MEMORY_BYTES)):
            members = [segment for segment in self._segments if segment.on_disk is on_disk]
            while len(members) > 1 and sum(segment.size_bytes for segment in members) > limit_bytes:
                self._drop(members.pop(0))

    def _drop(self, segment: Segment) -> None:
        if not self._dropped:
            logger.warning("%s: the queue is full; from now on the oldest unsent messages are dropped", self._folder)
        self._dropped += segment.waiting
        place = self._segments.index(segment)
        if self._reading is segment:
            self._reading, self._offset = self._segments[place + 1], 0
        before = self._segments[place - 1].last_number if place else 0
        kept = [number for number in self._read_but_waiting if not before < number <= segment.last_number]
        self._read_but_waiting = deque(kept)
        self._segments.remove(segment)
        segment.remove()

    def _count_acknowledged(self, number: int) -> None:
        place = next(place for place, segment in enumerate(self._segments) if segment.last_number >= number)
        for earlier in self._segments[:place]:  # read to their ends: what is missing was damaged after this began
            self._dropped += earlier.waiting
            earlier.waiting = 0
        self._segments[place].waiting -= 1
        self._remove_finished()

    def _remove_finished(self) -> None:
        for segment in [segment for segment in self._segments[:-1] if not segment.waiting]:
            if self._reading is segment:
                self._reading, self._offset = self._segments[self._segments.index(segment) + 1], 0
            self._segments.remove(segment)
            segment.remove()
        newest = self._segments[-1]
        if not newest.waiting and newest.size_bytes > EMPTY_AFTER_BYTES:
            with contextlib.suppress(OSError):  # it only grows further
                newest.empty()
                self._offset = 0

    def _write_note(self) -> None:
        self._noted_s = time.monotonic()
        write_note(self._folder, self._acknowledged)

    def _sync_late(self) -> None:
        while not self._closing.is_set():
            self._changed.wait()
            self._closing.wait(SYNC_AFTER_S)
            self._changed.clear()
            self._sync()

    def _sync(self) -> None:
        """Bring what waits to the disk, without keeping `append` waiting."""
        with self._access:
            waiting = [segment for segment in self._segments if segment.waiting]
            handles = [handle for segment in waiting if (handle := segment.sync_handle()) is not None]
        try:
            for handle in handles:
                os.fsync(handle)
            for segment in waiting:
                segment.sync_name()
        except OSError as error:
            logger.warning("%s: unsent messages may be lost in a power cut (%s)", self._folder, error.strerror)
        finally:
            for handle in handles:
                os.close(handle)
