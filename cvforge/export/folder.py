"""A folder that appears whole or not at all."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from cvforge.errors import ConfigError, RunExistsError, StorageError
from cvforge_edge.draft_folder import draft_path, flush, flush_folder, remove_abandoned_drafts
from cvforge_edge.manifest import MANIFEST_NAME

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

    Every file is flushed to the disk before the folder gets its name, so a power cut leaves the old bundle or the new
    one. An old bundle is swapped in one step on Linux.

    Raises:
        RunExistsError, ConfigError: as `check_target`.
        StorageError: something could not be written, for instance because the disk is full.
    """
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


def _install(draft: Path, target: Path) -> None:
    if not target.exists():
        draft.rename(target)
    elif not _exchange(draft, target):
        # No atomic exchange here: for a moment there is no bundle of this name, and two beside it.
        old = draft.with_name(draft.name + ".old")
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
