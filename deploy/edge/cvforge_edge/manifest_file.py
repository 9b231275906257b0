"""The file `manifest.json` before it is checked: its content, and the files that it seems to list."""

from __future__ import annotations

import json
from pathlib import Path

from cvforge_edge.errors import BundleError, SpecError
from cvforge_edge.listed_files import MANIFEST_NAME, BundleFile
from cvforge_edge.plain_file import read_plain_file

MAX_MANIFEST_BYTES = 16 * 1024 * 1024


def read_manifest_bytes(folder: Path | str) -> bytes:
    """The content of a bundle's `manifest.json`, not yet looked at.

    Raises:
        BundleError: it is missing, no plain file, or too long; or the folder is none.
    """
    path = Path(folder) / MANIFEST_NAME
    if Path(folder).is_file():
        raise BundleError(f"{folder}: found a file; give the folder of a bundle, which holds a {MANIFEST_NAME}")
    try:
        return read_plain_file(path, limit_bytes=MAX_MANIFEST_BYTES)
    except FileNotFoundError:
        raise BundleError(f"{path}: not found; give the folder of a bundle, which holds a {MANIFEST_NAME}") from None
    except ValueError as error:
        raise BundleError(f"{path}: {error}; this is no manifest, export the bundle again") from None


def files_named(manifest_bytes: bytes) -> list[BundleFile]:
    """The files that the content of a `manifest.json` lists, if it is one; else perhaps none.

    It says what to begin with while everything that reads a manifest is still being imported, and nothing more.
    """
    try:
        files = json.loads(manifest_bytes)["files"]
        return [BundleFile(file["path"], file["sha256"], file["size_bytes"]) for file in files]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, SpecError):
        return []  # whoever reads the manifest says what is wrong with it
