"""What decides the results of a bulk prediction, kept beside them, so that one folder never mixes two kinds."""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from pathlib import Path

from cvforge_edge.errors import StorageError, TakenError
from cvforge_edge.records import dataclass
from cvforge_edge.strict_json import parse_strict

SETTINGS_NAME = "bulk.json"
SCHEMA = 1
MAX_MEGAPIXELS = 200.0


@dataclass(frozen=True)
class BulkSettings:
    """What every row of a folder of results has in common.

    Attributes:
        name: of the model.
        version: of the model.
        task: of the model.
        fingerprint: SHA-256 of the bundle's manifest, which stands for everything in it.
        model: path of the model file inside the bundle.
        backend: a name in `cvforge_edge.backends.BACKENDS`.
        source: absolute, as the user means it: a folder, a list, a pattern.
        score_threshold: detection: lowest score of an object; None for that of the bundle.
        max_megapixels: of an image that is decoded, as its header says.
        schema: of the folder's files.
    """

    name: str
    version: int
    task: str
    fingerprint: str
    model: str
    backend: str
    source: str
    score_threshold: float | None = None
    max_megapixels: float = MAX_MEGAPIXELS
    schema: int = SCHEMA

    def to_json(self) -> str:
        """The content of the settings' file."""
        return json.dumps(asdict(self), indent=2) + "\n"


def check_same(folder: Path, settings: BulkSettings) -> bool:
    """Whether a folder holds results of these settings; False where it holds none at all.

    Raises:
        TakenError: it holds results of others; the message names every difference.
        StorageError: the settings' file cannot be read.
    """
    path = folder / SETTINGS_NAME
    try:
        found = parse_strict(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return False
    except OSError as error:
        raise StorageError(f"{path}: cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise TakenError(f"{path}: is not what a bulk prediction wrote ({error}); choose another folder") from None
    wanted = asdict(settings)
    found = found if isinstance(found, dict) else {}
    differences = [
        f"{field.name}: found {found.get(field.name)!r}, asked for {wanted[field.name]!r}"
        for field in fields(settings)
        if found.get(field.name) != wanted[field.name]
    ]
    if differences:
        raise TakenError(
            f"--output {folder}: holds results of another prediction, and was left as it is ({'; '.join(differences)}); "
            "ask for the same again to go on with it, or choose another folder"
        )
    return True
