"""What an export measured about time, beside the bundle: it differs from run to run, and a bundle must not."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cvforge.errors import DataError, StorageError
from cvforge_edge.manifest import MANIFEST_NAME
from cvforge_edge.strict_json import format_json, parse_strict

SUFFIX = ".measurements.json"
SCHEMA_VERSION = 1


def measurements_path(bundle: Path) -> Path:
    """Where the measurements of a bundle lie.

    >>> measurements_path(Path("bundles/det_bccd")).as_posix()
    'bundles/det_bccd.measurements.json'
    """
    return bundle.with_name(bundle.name + SUFFIX)


def write_measurements(bundle: Path, values: Mapping[str, Any]) -> Path:
    """Write the measurements of a finished bundle, whole or not at all; the file names the manifest that it belongs to.

    Raises:
        StorageError: it cannot be written; the bundle is there.
    """
    path = measurements_path(bundle)
    document = {
        "schema_version": SCHEMA_VERSION,
        "manifest_sha256": _digest(bundle),
        "machine": f"{platform.system()} {platform.machine()}, one thread",
        **values,
    }
    draft = path.with_name(f".{path.name}.part")
    try:
        draft.write_text(format_json(document), encoding="utf-8", newline="\n")
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise StorageError(f"{path}: cannot be written ({error}); the bundle itself is complete") from error
    return path


def read_measurements(bundle: Path) -> dict[str, Any]:
    """What was measured when this bundle was made.

    Raises:
        DataError: there is no such file, it cannot be read, or it belongs to another export.
    """
    path = measurements_path(bundle)
    try:
        document = parse_strict(path.read_text(encoding="utf-8"))
        digest = document["manifest_sha256"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: cannot be read ({error}); tools/export.py writes it beside the bundle") from None
    if digest != _digest(bundle):
        raise DataError(f"{path}: belongs to another export than {bundle}; export again to measure this one")
    return dict(document)


def _digest(bundle: Path) -> str:
    return hashlib.sha256((bundle / MANIFEST_NAME).read_bytes()).hexdigest()
