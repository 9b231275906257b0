"""A file beside a bundle that appears whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from cvforge.errors import StorageError
from cvforge_edge.draft_folder import flush


def write_whole(path: Path, content: bytes, *, state: str = "the bundle itself is complete") -> None:
    """Write a file under another name and give it its own when it is complete.

    Args:
        path: the file.
        content: all of it.
        state: what is with the bundle when this cannot be written.

    Raises:
        StorageError: it cannot be written.
    """
    draft = path.with_name(f".{path.name}.part")
    try:
        with draft.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
        flush(path.parent)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise StorageError(f"{path}: cannot be written ({error}); {state}") from error
