"""A file beside a bundle that appears whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from cvforge.errors import StorageError
from cvforge_edge.draft_folder import flush


def write_whole(path: Path, content: bytes) -> None:
    """Write a file under another name and give it its own when it is complete.

    Raises:
        StorageError: it cannot be written; the bundle is there.
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
        raise StorageError(f"{path}: cannot be written ({error}); the bundle itself is complete") from error
