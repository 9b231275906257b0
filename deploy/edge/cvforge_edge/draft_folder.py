"""Folders that are being written beside their final place, and what killed processes left of them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path


def draft_path(target: Path) -> Path:
    """Where this process prepares a folder that is to become `target`: beside it, on the same file system."""
    return target.parent / f".{target.name}.draft-{os.getpid()}"


def remove_abandoned_drafts(target: Path) -> None:
    """Remove drafts of `target` whose processes were killed and could not clean up."""
    prefix = f".{target.name}.draft-"
    for draft in target.parent.glob(f"{prefix}*"):
        owner = draft.name.removeprefix(prefix)
        if owner.isdecimal() and not _is_running(int(owner)):
            shutil.rmtree(draft, ignore_errors=True)


def flush_folder(folder: Path) -> None:
    """Bring every file below a folder, and the folder itself, to the disk."""
    for path in [*(p for p in folder.rglob("*") if p.is_file()), *(p for p in folder.rglob("*") if p.is_dir()), folder]:
        flush(path)


def flush(path: Path) -> None:
    """Bring one file's content, or one folder's list of names, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _is_running(process_id: int) -> bool:
    if process_id == os.getpid():
        return False  # our own number from before a restart: this call has made no draft yet
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
