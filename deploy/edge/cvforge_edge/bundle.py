"""A folder with everything a device needs to run a model, opened only when every byte of it is the maker's."""

from __future__ import annotations

import hashlib
import stat
from dataclasses import dataclass
from pathlib import Path

from cvforge_edge.errors import BundleError
from cvforge_edge.manifest import BundleFile, Manifest, ModelFile, problem_list, read_manifest

HASH_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True)
class Bundle:
    """A checked bundle.

    Attributes:
        folder: where it lies.
        manifest: what it holds.
    """

    folder: Path
    manifest: Manifest

    def path_of(self, file: ModelFile | BundleFile) -> Path:
        """Where a listed file lies."""
        return self.folder / file.path


def open_bundle(folder: Path | str) -> Bundle:
    """Check a bundle's manifest, and the presence, size and SHA-256 of every file that it lists.

    Files that the manifest does not list are left alone: nothing ever reads them, and a note or an operating system's
    own folder file must not stop a camera. Links are refused wherever they lie inside the bundle, since what they
    point to can change after the check; the folder itself may be reached through one.

    Raises:
        BundleError: the manifest is missing or wrong, lists no model, or a file is missing, a link, of another size, or
            altered; the message names every such file.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    problems = [problem for file in manifest.files for problem in _file_problems(folder, file)]
    if not manifest.models:
        problems.append("files: no model is listed")
    if problems:
        problems.append("copy the bundle again, or export it again")
        raise BundleError(problem_list(str(folder), problems))
    return Bundle(folder, manifest)


def describe_file(folder: Path | str, path: str) -> BundleFile:
    """The manifest entry of a file that lies at `path` inside a bundle folder."""
    size_bytes, sha256 = _measure(Path(folder) / path)
    return BundleFile(path=path, sha256=sha256, size_bytes=size_bytes)


def describe_model(folder: Path | str, path: str, *, format: str, precision: str) -> ModelFile:
    """The manifest entry of a model file that lies at `path` inside a bundle folder."""
    size_bytes, sha256 = _measure(Path(folder) / path)
    return ModelFile(path=path, format=format, precision=precision, sha256=sha256, size_bytes=size_bytes)


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
