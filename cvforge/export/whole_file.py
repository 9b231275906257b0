"""A file beside a bundle that appears whole or not at all."""

from __future__ import annotations

from pathlib import Path

from cvforge.errors import StorageError


def write_whole(path: Path, content: bytes) -> None:
    """Write a file under another name and give it its own when it is complete.

    Raises:
        StorageError: it cannot be written; the bundle is there.
    """
    draft = path.with_name(f".{path.name}.part")
    try:
        draft.write_bytes(content)
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise StorageError(f"{path}: cannot be written ({error}); the bundle itself is complete") from error
