"""Files that only their owner may read, written whole or not at all."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from cvforge_edge.errors import StorageError

FILE_MODE, FOLDER_MODE = 0o600, 0o700
DRAFT_SUFFIX = ".part"


def write_private_file(path: Path, data: bytes) -> None:
    """Write or replace a file with mode 0600: a reader sees the old content or the new one, also after a power cut.

    Raises:
        StorageError: it cannot be written; what was there before is untouched.
    """
    draft = path.with_name(path.name + DRAFT_SUFFIX)
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, FILE_MODE)
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), FILE_MODE)  # a draft of another time may have had another mode
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
        raise StorageError(
            f"{path}: cannot be written ({error.strerror}); free space or choose another place"
        ) from None


def make_private_folder(folder: Path) -> None:
    """Create a folder, and those above it, with mode 0700 for itself; one that is there gets this mode.

    Raises:
        StorageError: it cannot be created, belongs to somebody else, or is no folder.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=FOLDER_MODE)
        folder.chmod(FOLDER_MODE)
    except OSError as error:
        raise StorageError(
            f"{folder}: cannot be created for its owner alone ({error.strerror}); choose another folder"
        ) from None
