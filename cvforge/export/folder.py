"""A folder that appears whole or not at all."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from cvforge.errors import ConfigError, RunExistsError, StorageError
from cvforge_edge.draft_folder import abandoned, draft_path, flush, flush_folder, remove, remove_abandoned_drafts
from cvforge_edge.manifest import MANIFEST_NAME

_OLD = "old"  # kind of the folder that keeps an old bundle while there is no atomic exchange
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


def check_target(target: Path, *, replace: bool) -> None:
    """Find out before hours of work whether a bundle may be written to `target`.

    Raises:
        RunExistsError: there is a bundle already and `replace` is false.
        ConfigError: there is something else, which is never replaced.
    """
    if not target.exists() and not target.is_symlink():
        return
    is_bundle = target.is_dir() and not target.is_symlink() and (target / MANIFEST_NAME).is_file()
    if not is_bundle:
        raise ConfigError(f"--output {target}: exists and is not a bundle, so it is left alone; give another name")
    if not replace:
        raise RunExistsError(f"--output {target}: holds a bundle already; give another name, or --force to replace it")


@contextlib.contextmanager
def whole_folder(target: Path, *, replace: bool) -> Iterator[Path]:
    """A draft folder beside `target`, which takes its place when the block ends well and vanishes when it does not.

    Every file is flushed to the disk before the folder gets its name, so a power cut or a kill leaves the old bundle or
    the new one. An old bundle is swapped in one step where the system can (`renameat2` of Linux: ext4, XFS, Btrfs, tmpfs,
    overlayfs). Elsewhere it is moved aside first: a kill in between leaves no bundle of this name, and the next call puts
    the old one back. What killed processes left is removed.

    Raises:
        RunExistsError, ConfigError: as `check_target`.
        StorageError: something could not be written, for instance because the disk is full.
    """
    put_back_old(target)
    check_target(target, replace=replace)
    draft = draft_path(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        remove_abandoned_drafts(target)
        draft.mkdir()
        yield draft
        flush_folder(draft)
        check_target(target, replace=replace)
        _install(draft, target)
    except OSError as error:
        raise StorageError(f"{target}: cannot be written ({error}); nothing was changed") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


@contextlib.contextmanager
def scratch_folder(draft: Path) -> Iterator[Path]:
    """A folder for intermediate files beside a draft of `whole_folder`; what a kill leaves of it goes with the draft's."""
    folder = draft.with_name(f"{draft.name}.scratch")
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def put_back_old(target: Path) -> None:
    """Undo what a process left half-way that was killed while it replaced `target` without an atomic exchange."""
    for old in abandoned(target, _OLD):
        if target.exists() or target.is_symlink():
            remove(old)  # it was replaced; only the cleaning was missing
        else:
            old.rename(target)
            flush(target.parent)


def _install(draft: Path, target: Path) -> None:
    if not target.exists():
        draft.rename(target)
    elif not _exchange(draft, target):
        # No atomic exchange here: for a moment there is no bundle of this name, and two beside it.
        old = draft_path(target, _OLD)
        target.rename(old)
        try:
            draft.rename(target)
        except OSError:
            old.rename(target)
            raise
        shutil.rmtree(old, ignore_errors=True)
    flush(target.parent)


def _exchange(first: Path, second: Path) -> bool:
    """Swap two folders in one step; False where the operating or file system cannot."""
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError, TypeError):
        return False
    arguments = (_AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), _RENAME_EXCHANGE)
    return bool(rename(*arguments) == 0)
