"""Archives for TorchServe: handler, code and bundle in one folder, or in one file."""

from __future__ import annotations

import json
import re
import shutil
import zipfile
from pathlib import Path

import cvforge_edge
import cvforge_server
from cvforge_edge.bundle import Bundle
from cvforge_edge.errors import StorageError, TakenError, UsageError
from cvforge_server.torchserve.model_config import ModelConfig
from cvforge_server.torchserve.shell import BUNDLE_FOLDER

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
CODE = (Path(cvforge_edge.__file__).parent, Path(cvforge_server.__file__).parent)
HANDLER = Path(cvforge_server.__file__).parent / "torchserve" / "handler.py"
CONFIG_NAME, MANIFEST_NAME = "model-config.yaml", "MAR-INF/MANIFEST.json"
ZIP_TIME = (1980, 1, 1, 0, 0, 0)
"""Of every file of a `.mar`: the same bundle gives the same bytes."""


def build_archive(bundle: Bundle, store: Path, *, name: str, config: ModelConfig, packed: bool = False) -> Path:
    """Put a bundle and all that serves it into a model store.

    Args:
        bundle: an open one.
        store: folder of archives; made where it is missing.
        name: under which the model is served.
        config: how.
        packed: one file NAME.mar in place of the folder NAME.

    Returns:
        The folder or file; the same bytes for the same bundle, code and config.

    Raises:
        UsageError: the name is none that TorchServe takes in an address.
        TakenError: the store has an archive of this name.
        StorageError: it cannot be written; nothing of it is left.
    """
    if not NAME.fullmatch(name):
        raise UsageError(f"--name: found {name!r}, accepted letters, digits, '_', '.' and '-', at most 64")
    target = store / (f"{name}.mar" if packed else name)
    if target.exists():
        raise TakenError(f"{target}: is there already; choose another --name, or remove it while no server uses it")
    draft = store / f".{target.name}.part"
    try:
        store.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(draft, ignore_errors=True)
        folder = draft / name
        _fill(folder, bundle, name=name, config=config)
        if packed:
            _pack(folder, draft / target.name)
            (draft / target.name).rename(target)
        else:
            folder.rename(target)
    except OSError as error:
        raise StorageError(
            f"{target}: cannot be written ({error.strerror}); free space or choose another --store"
        ) from None
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return target


def _fill(folder: Path, bundle: Bundle, *, name: str, config: ModelConfig) -> None:
    for code in CODE:
        shutil.copytree(code, folder / code.name, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
    shutil.copy(HANDLER, folder / HANDLER.name)
    for path in ("manifest.json", "signature.json", *(file.path for file in bundle.manifest.files)):
        source, target = bundle.folder / path, folder / BUNDLE_FOLDER / path
        if source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
    (folder / CONFIG_NAME).write_text(_yaml(config), encoding="utf-8")
    (folder / MANIFEST_NAME).parent.mkdir()
    (folder / MANIFEST_NAME).write_text(json.dumps(_manifest(bundle, name), indent=2) + "\n", encoding="utf-8")


def _manifest(bundle: Bundle, name: str) -> dict[str, object]:
    return {
        "runtime": "python",
        "archiverVersion": "0.12.0",
        "model": {
            "modelName": name,
            "modelVersion": str(bundle.manifest.version),
            "handler": HANDLER.name,
            "configFile": CONFIG_NAME,
        },
    }


def _yaml(config: ModelConfig) -> str:
    """JSON is YAML, and needs no library."""
    return json.dumps(config.to_value(), indent=2) + "\n"


def _pack(folder: Path, target: Path) -> None:
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as packed:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            entry = zipfile.ZipInfo(path.relative_to(folder).as_posix(), ZIP_TIME)
            entry.external_attr = 0o644 << 16
            packed.writestr(entry, path.read_bytes())
