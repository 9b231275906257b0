"""A folder of results: what is asked for, lists of the images, and parts; whole after every kill, for one run at a time.

| | |
|---|---|
| `bulk.json` | `BulkSettings`; its presence makes the folder one of results |
| `lists/list-00000.parquet` | the images in the order in which they were found; later runs add lists of what is new since |
| `parts/part-00000-000000.parquet` | results for row group 0 of list 0, in its order |

Names that begin with a point are drafts, notes and the lock.
"""

from __future__ import annotations

import fcntl
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

from cvforge_edge.draft_folder import flush, remove
from cvforge_edge.errors import SourceError, StorageError, TakenError
from cvforge_edge.records import dataclass
from cvforge_edge.sources.names import IMAGE_SUFFIXES
from cvforge_server.bulk.image_list import DRAFT_SUFFIX, read_parts, write_list
from cvforge_server.bulk.job import BulkJob
from cvforge_server.bulk.listing import list_source
from cvforge_server.bulk.part_file import standing_part
from cvforge_server.bulk.part_name import LISTS, PARTS, PartName, list_number
from cvforge_server.bulk.seen import Seen
from cvforge_server.bulk.settings import SETTINGS_NAME, BulkSettings, check_same

LOCK_NAME = ".lock"


@dataclass(frozen=True)
class Plan:
    """What there is to do.

    Attributes:
        pending: parts that are to be made.
        pending_images: in them.
        done: how many images of the parts that stand have each status.
        new_images: that were found since the last run.
    """

    pending: tuple[PartName, ...]
    pending_images: int
    done: dict[str, int]
    new_images: int


@contextmanager
def locked_folder(folder: Path, settings: BulkSettings) -> Iterator[None]:
    """While inside, the folder is ours and holds these settings; the lock goes with the process, however that ends.

    Raises:
        TakenError: it holds results of other settings, something else, or another run works in it.
        StorageError: it cannot be made or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise _unusable(folder, error) from None
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise TakenError(f"--output {folder}: another run works in this folder; wait for it or stop it") from None
        # Settings without a list are those of a run that found nothing, for instance because its source was misspelt.
        if not _holds(folder / LISTS) or not check_same(folder, settings):
            _make_ours(folder, settings)
        yield
    finally:
        os.close(lock)


def plan_parts(job: BulkJob, *, workers: int, part_images: int | None = None) -> Plan:
    """Look at what stands in the folder, add what the source has beyond that, and say what is left to do.

    Args:
        job: whose folder is locked.
        workers: among which a short list is divided.
        part_images: images in each new part; None for a number that fits.

    Raises:
        SourceError: the source cannot be read, or has no image.
        TakenError: the folder has parts that none of its lists knows.
        StorageError: it cannot be read or written.
    """
    import pyarrow as pa

    folder, look = Path(job.output), _Look(job)
    try:
        remove_drafts(job)
        files = sorted(entry.name for entry in job.lists.iterdir())
        numbers = [number for number in map(list_number, files) if number is not None]
        seen = Seen()
        for number in numbers:
            look.at_list(number, seen=seen)
        paths = _not_empty(list_source(job.settings.source), job.settings.source)
        new = max(numbers, default=-1) + 1
        new_images = write_list(job.lists, new, paths, seen=seen, workers=workers, part_images=part_images)
        if new_images:
            look.at_list(new, seen=Seen())
        look.refuse_strange_parts()
    except (OSError, pa.ArrowException) as error:
        raise _unusable(folder, error) from None
    return Plan(tuple(look.pending), look.pending_images, dict(look.done), new_images)


def remove_drafts(job: BulkJob) -> None:
    """Remove what killed processes left beside their parts and lists; no worker of ours may be at work."""
    for left in (*job.lists.glob(f".*{DRAFT_SUFFIX}"), *job.parts.glob(f".*{DRAFT_SUFFIX}")):
        remove(left)


class _Look:
    """What a look at the lists and parts of a folder has found so far."""

    def __init__(self, job: BulkJob) -> None:
        self._job = job
        self._known: set[str] = set()
        self.pending: list[PartName] = []
        self.pending_images = 0
        self.done: Counter[str] = Counter()

    def at_list(self, number: int, *, seen: Seen) -> None:
        for name, paths in read_parts(self._job.lists, number):
            seen.add(paths)
            self._known.add(name.file)
            content = standing_part(
                self._job.parts / name.file,
                fingerprint=self._job.settings.fingerprint,
                paths=paths,
                redo_errors=self._job.redo_errors,
            )
            if content is None:
                self.pending.append(name)
                self.pending_images += len(paths)
            else:
                self.done.update(content.statuses)
                (self._job.parts / name.notes).unlink(missing_ok=True)  # of a worker that died when all was done

    def refuse_strange_parts(self) -> None:
        """Rows of images that no list has would stay beside those of the run, perhaps of the same images."""
        found = (entry.name for entry in self._job.parts.iterdir() if not entry.name.startswith("."))
        strange = sorted(name for name in found if name not in self._known)
        if strange:
            raise TakenError(
                f"--output {self._job.output}: {PARTS}/ has {len(strange)} files that no list of the folder knows, for "
                f"instance {strange[0]}; move them away, or choose another folder"
            )


def _make_ours(folder: Path, settings: BulkSettings) -> None:
    taken = [name for name in (LISTS, PARTS) if _holds(folder / name)]
    if taken:
        raise TakenError(
            f"--output {folder}: {' and '.join(f'{name}/' for name in taken)} hold files that no {SETTINGS_NAME} and no "
            "list explain; choose another folder"
        )
    try:
        for name in (LISTS, PARTS):
            (folder / name).mkdir(exist_ok=True)
        draft = folder / f".{SETTINGS_NAME}{DRAFT_SUFFIX}"
        draft.write_text(settings.to_json(), encoding="utf-8")
        flush(draft)
        draft.replace(folder / SETTINGS_NAME)
        flush(folder)
    except OSError as error:
        raise _unusable(folder, error) from None


def _holds(folder: Path) -> bool:
    return folder.is_dir() and any(not entry.name.startswith(".") for entry in folder.iterdir())


def _not_empty(paths: Iterator[str], source: str) -> Iterator[str]:
    """A share that is not mounted looks like a folder without images: none of those of before must get an error for it."""
    first = next(paths, None)
    if first is None:
        raise SourceError(
            f"--source {source}: found no image; accepted endings in a folder: {', '.join(IMAGE_SUFFIXES)}"
        )
    return chain([first], paths)


def _unusable(folder: Path, error: Exception) -> StorageError:
    return StorageError(f"--output {folder}: cannot be read or written ({getattr(error, 'strerror', None) or error})")
