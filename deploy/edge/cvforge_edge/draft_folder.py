"""Folders and files that are being written beside their final place, and what killed processes left of them."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from pathlib import Path

DRAFT = "draft"


def draft_path(target: Path, kind: str = DRAFT) -> Path:
    """Where this process prepares what is to become `target`: beside it, on the same file system.

    Args:
        target: the final place of a folder or file.
        kind: tells apart what one process keeps beside one place.
    """
    return target.parent / f".{target.name}.{kind}-{os.getpid()}"


def abandoned(target: Path, kind: str = DRAFT) -> list[Path]:
    """What killed processes left beside `target`: their `draft_path`, and whatever has its name and an ending."""
    name = re.compile(rf"\.{re.escape(target.name)}\.{re.escape(kind)}-(\d+)(\..*)?")
    try:
        entries = sorted(target.parent.iterdir())
    except FileNotFoundError:
        return []
    matches = [(entry, name.fullmatch(entry.name)) for entry in entries]
    return [entry for entry, match in matches if match is not None and not _is_running(int(match[1]))]


def remove_abandoned_drafts(target: Path) -> None:
    """Remove drafts of `target` whose processes were killed and could not clean up."""
    for draft in abandoned(target):
        remove(draft)


def remove(path: Path) -> None:
    """Remove a file, or a folder with everything in it, as far as that is possible."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
        return
    with contextlib.suppress(OSError):
        path.unlink()


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
