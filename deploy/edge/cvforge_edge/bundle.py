"""A folder with everything a device needs to run a model, opened only when every byte of it is the maker's."""

from __future__ import annotations

import hashlib
import os
import stat
import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from cvforge_edge.errors import BundleError
from cvforge_edge.manifest import (
    MANIFEST_NAME,
    RESERVED_NAMES,
    BundleFile,
    Manifest,
    ModelFile,
    decode_manifest,
    problem_list,
    read_manifest_bytes,
)
from cvforge_edge.private_copy import private_copy
from cvforge_edge.signature import check_model_name, check_signature, read_signature
from cvforge_edge.trust import TrustedKey, TrustStore

HASH_BLOCK_BYTES = 1 << 20
MOST_HELPERS = 3
"""Threads that help with checksums."""


@dataclass(frozen=True)
class Bundle:
    """A checked bundle.

    Attributes:
        folder: where it lies.
        manifest: what it holds.
        manifest_sha256: of the `manifest.json` that was read, which stands for all that it lists.
        signers: the trusted keys that vouch for it; empty where no trust was asked for.
    """

    folder: Path
    manifest: Manifest
    manifest_sha256: str
    signers: tuple[TrustedKey, ...] = ()

    def path_of(self, file: ModelFile | BundleFile) -> Path:
        """Where a listed file lies."""
        return self.folder / file.path

    def copy_of(self, model: ModelFile) -> AbstractContextManager[Path]:
        """While inside, a path of a model that is what the manifest says, whatever happens to the file (`private_copy`).

        Raises:
            BundleError: the file was altered since the bundle was opened.
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
    manifest, signers = vouched_manifest(data, read_signature(folder), trust=trust, folder=folder)
    _check_files(folder, manifest, unlisted=[] if trust is None else _unlisted(folder, manifest))
    return Bundle(folder, manifest, hashlib.sha256(data).hexdigest(), signers)


def open_bundle_to_sign(folder: Path | str) -> Bundle:
    """Check a bundle as its signer must: whole, and nothing in it unlisted; whatever signature it has is not looked at.

    Raises:
        BundleError: as in `open_bundle`.
    """
    folder = Path(folder)
    data = read_manifest_bytes(folder)
    manifest, _ = vouched_manifest(data, None, trust=None, folder=folder)
    _check_files(folder, manifest, unlisted=_unlisted(folder, manifest))
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
    signers = check_signature(data, signature, trust=trust, where=str(folder))
    manifest = decode_manifest(data, where=str(folder / MANIFEST_NAME))
    if trust is not None:
        check_model_name(manifest.name, signers, where=str(folder))
    if not manifest.models:
        raise BundleError(f"{folder}: files: no model is listed for devices; export the bundle again")
    return manifest, signers


def describe_file(folder: Path | str, path: str) -> BundleFile:
    """The manifest entry of a file that lies at `path` inside a bundle folder."""
    size_bytes, sha256 = _measure(Path(folder) / path)
    return BundleFile(path=path, sha256=sha256, size_bytes=size_bytes)


def describe_model(folder: Path | str, path: str, *, format: str, precision: str, batch: bool = False) -> ModelFile:
    """The manifest entry of a model file that lies at `path` inside a bundle folder."""
    size_bytes, sha256 = _measure(Path(folder) / path)
    return ModelFile(path, format, precision, sha256, size_bytes, batch)


def file_sha256(path: Path | str) -> str:
    """SHA-256 of a file as 64 lower-case hexadecimal digits, in constant memory."""
    digest = hashlib.sha256()
    buffer = memoryview(bytearray(HASH_BLOCK_BYTES))
    with Path(path).open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            digest.update(buffer[:count])
    return digest.hexdigest()


def _measure(path: Path) -> tuple[int, str]:
    return path.stat().st_size, file_sha256(path)


def _check_files(folder: Path, manifest: Manifest, *, unlisted: Sequence[str]) -> None:
    problems = [problem for found in _problems_of_all(folder, manifest.files) for problem in found]
    problems += [
        f"{path}: not listed in the manifest; a signed bundle holds nothing else, remove it" for path in unlisted
    ]
    if problems:
        problems.append("copy the bundle again, or export it again")
        raise BundleError(problem_list(str(folder), problems))


def _problems_of_all(folder: Path, files: Sequence[ModelFile | BundleFile]) -> list[list[str]]:
    """The problems of each file; threads share the work, since checksums are most of what a start waits for."""
    found: list[list[str]] = [[] for _ in files]
    numbers = iter(sorted(range(len(files)), key=lambda number: -files[number].size_bytes))
    failures: list[BaseException] = []

    def work() -> None:
        try:
            for number in numbers:  # each number comes once: the interpreter lets one thread at a time into an iterator
                found[number] = _file_problems(folder, files[number])
        except BaseException as error:  # raised again by the calling thread
            failures.append(error)

    helpers = [threading.Thread(target=work) for _ in range(min(MOST_HELPERS, (os.cpu_count() or 1) - 1))]
    for helper in helpers:
        helper.start()
    work()
    for helper in helpers:
        helper.join()
    if failures:
        raise failures[0]
    return found


def _unlisted(folder: Path, manifest: Manifest) -> list[str]:
    """Everything in the folder that is neither reserved, listed, nor a folder on the way to a listed file."""
    expected = {*RESERVED_NAMES, *(file.path for file in manifest.files)}
    expected |= {str(parent) for path in expected for parent in PurePosixPath(path).parents}
    return sorted(path for entry in folder.rglob("*") if (path := entry.relative_to(folder).as_posix()) not in expected)


def _file_problems(folder: Path, file: ModelFile | BundleFile) -> list[str]:
    path = folder
    for part in file.path.split("/"):
        path = path / part
        try:
            status = path.lstat()
        except OSError:
            return [f"{file.path}: missing"]
        if stat.S_ISLNK(status.st_mode):
            return [f"{file.path}: is or goes through a link; a bundle holds plain files"]
    if not stat.S_ISREG(status.st_mode):
        return [f"{file.path}: is not a plain file"]
    if status.st_size != file.size_bytes:
        return [f"{file.path}: {status.st_size} bytes, but the manifest says {file.size_bytes}"]
    try:
        found = file_sha256(path)
    except OSError as error:
        return [f"{file.path}: cannot be read ({error.strerror})"]
    return (
        [] if found == file.sha256 else [f"{file.path}: altered; SHA-256 is {found}, the manifest says {file.sha256}"]
    )
