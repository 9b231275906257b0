"""A folder of hard frames that never grows beyond its bounds: the least valuable of the fullest group goes first."""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

from cvforge_edge.errors import StorageError, UsageError
from cvforge_edge.evidence.likeness import Likeness
from cvforge_edge.evidence.record import FRAME_NAME, RECORD_SUFFIX, SUFFIXES, read_record
from cvforge_edge.private_file import DRAFT_SUFFIX, FILE_MODE, make_private_folder, write_private_file
from cvforge_edge.records import dataclass

FRAMES = "frames"
LOCK_NAME = ".lock"

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Kept:
    """One hard frame in the folder.

    Attributes:
        name: of its files, without their suffixes.
        value: of its strongest reason.
        unix_time_s: when it was stored.
        size_bytes: of all its files.
        likeness: what others are compared with.
        of_this_model: whether the model that runs now found it hard.
    """

    name: str
    value: float
    unix_time_s: float
    size_bytes: int
    likeness: Likeness
    of_this_model: bool = True


class EvidenceFolder:
    """The hard frames below `FOLDER/frames`; open for one process at a time.

    Args:
        folder: created for its owner alone where it is not there.
        max_frames: so many at most.
        max_bytes: of all their files together.
        min_free_bytes: nothing is stored while the disk has less room.
        manifest_sha256: of the bundle that runs; frames of others go first.
        free_bytes: how much room the disk of a folder has.

    Raises:
        StorageError: the folder cannot be created or read.
        UsageError: another process uses it.
    """

    def __init__(
        self,
        folder: Path,
        *,
        max_frames: int,
        max_bytes: int,
        min_free_bytes: int,
        manifest_sha256: str,
        free_bytes: Callable[[Path], int] = lambda folder: shutil.disk_usage(folder).free,
    ) -> None:
        self.path, self._frames = folder, folder / FRAMES
        self._max_frames, self._max_bytes, self._min_free_bytes = max_frames, max_bytes, min_free_bytes
        self._manifest_sha256, self._free_bytes = manifest_sha256, free_bytes
        for one in (folder, self._frames):
            make_private_folder(one)
        self._lock: int | None = _lock(folder / LOCK_NAME)
        self.kept: dict[str, Kept] = {}
        try:
            self._read()
        except OSError as error:
            self.close()
            raise StorageError(f"{self._frames}: cannot be read ({error.strerror}); choose another folder") from None
        self._shrink(frames=0, size_bytes=0)

    @property
    def size_bytes(self) -> int:
        """Of all files of hard frames."""
        return sum(one.size_bytes for one in self.kept.values())

    def wants(self, likeness: Likeness, value: float) -> bool:
        """Whether a frame of this value would stay: nothing like it is worth more, and it would not be the first to go."""
        alike = [one for one in self.kept.values() if one.likeness.is_like(likeness)]
        if any(one.value >= value for one in alike):
            return False
        typical_bytes = self.size_bytes // max(len(self.kept), 1)
        if len(self.kept) - len(alike) < self._max_frames and self.size_bytes + typical_bytes <= self._max_bytes:
            return True
        first = self._first_to_go(joined_by=likeness)
        if first is None or not first.of_this_model:
            return True
        return first.likeness.group != likeness.group or first.value <= value

    def store(self, kept: Kept, files: Mapping[str, bytes]) -> None:
        """Store a frame in place of those like it, and let others go until it fits.

        Args:
            kept: the frame.
            files: suffix -> content; the record (`.json`) is written last: a frame with a record is complete.

        Raises:
            StorageError: it does not fit, or the disk is full; what was stored before is there, complete.
        """
        if kept.size_bytes > self._max_bytes:
            raise StorageError(
                f"{self._frames}: one frame of {kept.size_bytes} bytes is more than all may take; raise --evidence-max-mb"
            )
        free = self._free_bytes(self._frames)
        if free - kept.size_bytes < self._min_free_bytes:
            raise StorageError(
                f"{self._frames}: the disk has {free / 1e6:.0f} MB left and {self._min_free_bytes / 1e6:.0f} MB stay free"
            )
        for one in [one for one in self.kept.values() if one.name == kept.name or one.likeness.is_like(kept.likeness)]:
            self._remove(one)
        self._shrink(frames=1, size_bytes=kept.size_bytes, likeness=kept.likeness)
        try:
            for suffix, data in sorted(files.items(), key=lambda item: item[0] == RECORD_SUFFIX):
                write_private_file(self._frames / (kept.name + suffix), data)
        except StorageError:
            self._remove_files(kept.name)
            raise
        self.kept[kept.name] = kept

    def close(self) -> None:
        """Let another process have it; may be called twice."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _shrink(self, *, frames: int, size_bytes: int, likeness: Likeness | None = None) -> None:
        """Remove frames until so many more of this size fit."""
        total = self.size_bytes
        while self.kept and (len(self.kept) + frames > self._max_frames or total + size_bytes > self._max_bytes):
            first = self._first_to_go(joined_by=likeness)
            assert first is not None, "there are frames, so one of them is the first to go"
            total -= first.size_bytes
            self._remove(first)

    def _first_to_go(self, *, joined_by: Likeness | None = None) -> Kept | None:
        """Of another model's frames the oldest; else the least valuable and oldest of the fullest group."""
        strange = [one for one in self.kept.values() if not one.of_this_model]
        if strange:
            return min(strange, key=lambda one: (one.unix_time_s, one.name))
        sizes = Counter(one.likeness.group for one in self.kept.values())
        if joined_by is not None:
            sizes[joined_by.group] += 1
        fullest = max((size for size in sizes.values()), default=0)
        crowd = [one for one in self.kept.values() if sizes[one.likeness.group] == fullest] or list(self.kept.values())
        return min(crowd, key=lambda one: (one.value, one.unix_time_s, one.name), default=None)

    def _read(self) -> None:
        """Take over what earlier runs left; remove what they did not complete."""
        entries = sorted(self._frames.iterdir())
        for path in entries:
            if path.suffix != RECORD_SUFFIX:
                continue
            record = read_record(path)
            if record is None and FRAME_NAME.fullmatch(path.stem):
                logger.warning("%s: damaged, removed", path)
            if record is not None:
                size = sum(one.stat().st_size for one in entries if _name(one) == path.stem and one.is_file())
                ours = record.manifest_sha256 == self._manifest_sha256
                self.kept[path.stem] = Kept(
                    path.stem, record.value, record.stored_unix_s, size, record.likeness, of_this_model=ours
                )
        for path in entries:
            if FRAME_NAME.fullmatch(_name(path)) and (path.suffix == DRAFT_SUFFIX or _name(path) not in self.kept):
                path.unlink(missing_ok=True)

    def _remove(self, one: Kept) -> None:
        self.kept.pop(one.name, None)
        self._remove_files(one.name)

    def _remove_files(self, name: str) -> None:
        """The record first: a picture without one is no frame."""
        for suffix in SUFFIXES:
            try:
                (self._frames / (name + suffix)).unlink(missing_ok=True)
            except OSError as error:
                raise StorageError(f"{self._frames / name}: cannot be removed ({error.strerror})") from None


def _name(path: Path) -> str:
    return path.name.partition(".")[0]


def _lock(path: Path) -> int:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, FILE_MODE)
    except OSError as error:
        raise StorageError(f"{path}: cannot be created ({error.strerror}); choose another folder") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise UsageError(f"{path.parent}: another run keeps its evidence there; give each run its own folder") from None
    return descriptor
