"""A folder for Ray's files of one run, which only its user can enter; those of runs that were killed are removed."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PLACE = Path("/tmp")
"""Not the user's TMPDIR: names of sockets are cut at 107 bytes."""
PREFIX = "cvforge-ray-"
LOCK, INSIDE = "lock", "r"


@contextmanager
def private_folder(place: Path = PLACE) -> Iterator[Path]:
    """While inside, a folder within one of mode 0700; Ray itself opens the folder that it is given to everybody.

    Args:
        place: where it is made.
    """
    remove_leftovers(place)
    outer = Path(tempfile.mkdtemp(prefix=PREFIX, dir=place))
    try:
        with (outer / LOCK).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            (outer / INSIDE).mkdir()
            yield outer / INSIDE
    finally:
        shutil.rmtree(outer, ignore_errors=True)


def remove_leftovers(place: Path = PLACE) -> None:
    """Remove this user's folders that no process holds any more; one without a lock is just being made, or is not ours."""
    for folder in place.glob(f"{PREFIX}*"):
        try:
            if folder.is_symlink() or folder.stat().st_uid != os.getuid():
                continue
            with (folder / LOCK).open("r+") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
        except OSError:  # no lock, held, or gone meanwhile
            continue
