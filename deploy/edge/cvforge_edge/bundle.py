"""A folder with everything a device needs to run a model, opened only when every byte of it is the maker's."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from cvforge_edge.errors import BundleError
from cvforge_edge.file_check import FileCheck, kind_problems
from cvforge_edge.file_check import file_sha256 as file_sha256
from cvforge_edge.listed_files import MANIFEST_NAME, RESERVED_NAMES, SIGNATURE_NAME, BundleFile, ModelFile
from cvforge_edge.manifest_file import files_named, read_manifest_bytes
from cvforge_edge.private_copy import private_copy
from cvforge_edge.records import dataclass

if TYPE_CHECKING:
    from cvforge_edge.manifest import Manifest
    from cvforge_edge.trust import TrustedKey, TrustStore


@dataclass(frozen=True)
class Bundle:
    """A checked bundle.

    Attributes:
        folder: where it lies.
        manifest: what it holds.
        manifest_sha256: of the `manifest.json` that was read, which stands for all that it lists.
        signers: the trusted keys that vouch for it; empty where no trust was asked for.
        whole: whether every file was looked into; otherwise that is left to who uses them.
    """

    folder: Path
    manifest: Manifest
    manifest_sha256: str
    signers: tuple[TrustedKey, ...] = ()
    whole: bool = True

    def path_of(self, file: ModelFile | BundleFile) -> Path:
        """Where a listed file lies."""
        return self.folder / file.path

    def copy_of(self, model: ModelFile) -> AbstractContextManager[Path]:
        """While inside, a path of a model that is what the manifest says, whatever happens to the file (`private_copy`).

        Raises:
            BundleError: the file was altered since the bundle was opened.
            StorageError: there is no room for a copy of it.
        """
        return private_copy(self.path_of(model), sha256=model.sha256)


def open_bundle(folder: Path | str, *, trust: TrustStore | None = None) -> Bundle:
    """Check a bundle's signature, its manifest, and the presence, size and SHA-256 of every file that it lists.

    Links are refused wherever they lie inside the bundle, since what they point to can change after the check; the folder
    itself may be reached through one.

    Args:
        folder: the bundle.
        trust: the keys of this device. Where they are given, one of them must have signed the manifest, which is checked
            before it is parsed, and the folder must hold nothing that the manifest does not list. Otherwise other
            files are left alone: nothing ever reads them, and a note must not stop a camera.

    Raises:
        SignatureError: not signed by a trusted key, or a signature that does not fit the manifest.
        BundleError: the manifest is missing or wrong, lists no model, or a file is missing, a link, of another size, or
            altered; the message names every such file.
        UsageError: `trust` is given and the library that checks signatures is not installed.
    """
    folder = Path(folder)
    data = read_manifest_bytes(folder)
    signers = _signers(data, folder, trust=trust)
    with FileCheck(folder, files_named(data)) as check:
        manifest = checked_manifest(data, signers if trust is not None else None, folder=folder)
        raise_problems(
            folder, [*check.problems(manifest.files), *([] if trust is None else _unlisted_problems(folder, manifest))]
        )
    return Bundle(folder, manifest, hashlib.sha256(data).hexdigest(), signers)


def open_bundle_to_run(folder: Path | str) -> Bundle:
    """As `open_bundle`, but does not look into the files: `copy_of` does for a model that is used, `RestOfBundle` for all.

    Checksums of models that are not used are much of what a start would wait for.

    Raises:
        BundleError: as in `open_bundle`, except for altered files.
    """
    folder = Path(folder)
    data = read_manifest_bytes(folder)
    _signers(data, folder, trust=None)
    manifest = checked_manifest(data, None, folder=folder)
    raise_problems(folder, [problem for file in manifest.files for problem in kind_problems(folder, file)])
    return Bundle(folder, manifest, hashlib.sha256(data).hexdigest(), whole=False)


def open_bundle_to_sign(folder: Path | str) -> Bundle:
    """Check a bundle as its signer must: whole, and nothing in it unlisted; whatever signature it has is not looked at.

    Raises:
        BundleError: as in `open_bundle`.
    """
    folder = Path(folder)
    data = read_manifest_bytes(folder)
    with FileCheck(folder, files_named(data)) as check:
        manifest = checked_manifest(data, None, folder=folder)
        raise_problems(folder, [*check.problems(manifest.files), *_unlisted_problems(folder, manifest)])
    return Bundle(folder, manifest, hashlib.sha256(data).hexdigest())


def vouched_manifest(
    data: bytes, signature: bytes | None, *, trust: TrustStore | None, folder: Path
) -> tuple[Manifest, tuple[TrustedKey, ...]]:
    """The manifest in the content of a `manifest.json`, and the trusted keys that vouch for it.

    Args:
        data: content of `manifest.json`.
        signature: content of `signature.json`; None where there is none.
        trust: as in `open_bundle`.
        folder: of the bundle, for messages.

    Raises:
        SignatureError, BundleError, UsageError: as in `open_bundle`.
    """
    from cvforge_edge.signature import check_signature

    signers = check_signature(data, signature, trust=trust, where=str(folder))
    return checked_manifest(data, signers if trust is not None else None, folder=folder), signers


def checked_manifest(data: bytes, signers: tuple[TrustedKey, ...] | None, *, folder: Path) -> Manifest:
    """The manifest in the content of a `manifest.json`.

    Args:
        data: content of `manifest.json`.
        signers: the trusted keys that vouch for it; None where none is asked for.
        folder: of the bundle, for messages.

    Raises:
        SignatureError, BundleError: as in `open_bundle`.
    """
    from cvforge_edge.manifest import decode_manifest  # numpy and OpenCV: loaded while `FileCheck` computes checksums

    manifest = decode_manifest(data, where=str(folder / MANIFEST_NAME))
    if signers is not None:
        from cvforge_edge.signature import check_model_name

        check_model_name(manifest.name, signers, where=str(folder))
    if not manifest.models:
        raise BundleError(f"{folder}: files: no model is listed for devices; export the bundle again")
    return manifest


def describe_file(folder: Path | str, path: str) -> BundleFile:
    """The manifest entry of a file that lies at `path` inside a bundle folder."""
    size_bytes, sha256 = _measure(Path(folder) / path)
    return BundleFile(path=path, sha256=sha256, size_bytes=size_bytes)


def describe_model(folder: Path | str, path: str, *, format: str, precision: str, batch: bool = False) -> ModelFile:
    """The manifest entry of a model file that lies at `path` inside a bundle folder."""
    size_bytes, sha256 = _measure(Path(folder) / path)
    return ModelFile(path, format, precision, sha256, size_bytes, batch)


def _measure(path: Path) -> tuple[int, str]:
    return path.stat().st_size, file_sha256(path)


def _signers(data: bytes, folder: Path, *, trust: TrustStore | None) -> tuple[TrustedKey, ...]:
    if trust is None and not os.path.lexists(folder / SIGNATURE_NAME):
        return ()
    from cvforge_edge.signature import check_signature, read_signature

    return check_signature(data, read_signature(folder), trust=trust, where=str(folder))


def raise_problems(folder: Path, problems: Sequence[str]) -> None:
    """Raise a `BundleError` where there are any."""
    if problems:
        from cvforge_edge.manifest import problem_list

        raise BundleError(problem_list(str(folder), [*problems, "copy the bundle again, or export it again"]))


def _unlisted_problems(folder: Path, manifest: Manifest) -> list[str]:
    return [
        f"{path}: not listed in the manifest; a signed bundle holds nothing else, remove it"
        for path in _unlisted(folder, manifest)
    ]


def _unlisted(folder: Path, manifest: Manifest) -> list[str]:
    """Everything in the folder that is neither reserved, listed, nor a folder on the way to a listed file."""
    expected = {*RESERVED_NAMES, *(file.path for file in manifest.files)}
    expected |= {str(parent) for path in expected for parent in PurePosixPath(path).parents}
    return sorted(path for entry in folder.rglob("*") if (path := entry.relative_to(folder).as_posix()) not in expected)
