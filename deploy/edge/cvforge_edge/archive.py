"""A bundle as one file: an uncompressed tar, the same bytes for the same bundle, unpacked only when all of it is right.

The manifest comes first, then the signature, then the files in the order of their paths. So a reader knows what may follow,
and how long it is, before it writes anything; and there is nothing to inflate. Weights hardly compress (8 % by gzip).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from cvforge_edge.bundle import Bundle, vouched_manifest
from cvforge_edge.draft_folder import draft_path, flush, flush_folder, remove_abandoned_drafts
from cvforge_edge.errors import BundleError, StorageError, TakenError
from cvforge_edge.manifest import (
    MANIFEST_NAME,
    SIGNATURE_NAME,
    BundleFile,
    Manifest,
    ModelFile,
)
from cvforge_edge.manifest_file import MAX_MANIFEST_BYTES, read_manifest_bytes
from cvforge_edge.signature import MAX_SIGNATURE_BYTES, read_signature
from cvforge_edge.tar_format import BLOCK_BYTES, END, header_difference, header_path, padding, tar_header
from cvforge_edge.trust import TrustStore

ARCHIVE_SUFFIX = ".tar"
MAX_FILES = 10_000
COPY_BYTES = 1 << 20
FREE_RESERVE_BYTES = 16 * 1024 * 1024
"""What an unpacked bundle must leave free on the disk."""


def pack_bundle(bundle: Bundle, target: Path | str) -> Path:
    """Write the archive of an opened bundle, whole or not at all.

    Args:
        bundle: as `open_bundle` returns it.
        target: the archive; there must be nothing yet.

    Raises:
        TakenError: there is something at `target`.
        BundleError: a file has changed since the bundle was opened, or does not fit into a tar.
        StorageError: the archive cannot be written.
    """
    target = Path(target)
    _check_free_name(target)
    draft = draft_path(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        remove_abandoned_drafts(target)
        with draft.open("xb") as archive:
            _write_archive(bundle, archive)
            archive.flush()
            os.fsync(archive.fileno())
        _check_free_name(target)
        draft.replace(target)
        flush(target.parent)
    except OSError as error:
        raise StorageError(f"{target}: the archive cannot be written ({error}); nothing was changed") from None
    finally:
        draft.unlink(missing_ok=True)
    return target


def unpack_bundle(archive: Path | str, target: Path | str, *, trust: TrustStore | None = None) -> Bundle:
    """Make a bundle of an archive; the folder appears when every byte has been checked, or not at all.

    Args:
        archive: as `pack_bundle` writes it.
        target: the bundle's folder; there must be nothing yet.
        trust: keys, one of which must have signed the manifest; it is asked before anything is written.

    Raises:
        TakenError: there is something at `target`.
        SignatureError: not signed by a trusted key, or a signature that does not fit.
        BundleError: anything in the archive that is not exactly what its manifest lists.
        StorageError: no room, or no permission to write.
    """
    archive, target = Path(archive), Path(target).absolute()
    _check_free_name(target)
    with _opened(archive) as file:
        manifest_bytes, signature, header = _read_head(file, archive)
        manifest, signers = vouched_manifest(manifest_bytes, signature, trust=trust, folder=archive)
        _check_length(file, manifest, manifest_bytes, signature, where=archive)
        draft = draft_path(target)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            remove_abandoned_drafts(target)
            _check_room(target.parent, manifest)
            draft.mkdir()
            _write_head(draft, manifest_bytes, signature)
            _unpack_files(file, draft, manifest, first_header=header, where=archive)
            flush_folder(draft)
            _check_free_name(target)
            draft.rename(target)
            flush(target.parent)
        except OSError as error:
            raise StorageError(f"{target}: the bundle cannot be written ({error}); nothing was changed") from None
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    return Bundle(target, manifest, hashlib.sha256(manifest_bytes).hexdigest(), signers)


def _check_free_name(target: Path) -> None:
    if target.exists() or target.is_symlink():
        raise TakenError(f"{target}: exists already and is left alone; give another name, or remove it first")


def _in_order(manifest: Manifest) -> list[ModelFile | BundleFile]:
    return sorted(manifest.files, key=lambda file: file.path)


def _write_archive(bundle: Bundle, archive: BinaryIO) -> None:
    head = {MANIFEST_NAME: read_manifest_bytes(bundle.folder), SIGNATURE_NAME: read_signature(bundle.folder)}
    try:
        for name, data in head.items():
            if data is not None:
                archive.write(tar_header(name, len(data)) + data + bytes(padding(len(data))))
        for listed in _in_order(bundle.manifest):
            archive.write(tar_header(listed.path, listed.size_bytes))
            with bundle.path_of(listed).open("rb") as file:
                sha256 = _copy(file, archive, listed.size_bytes)
            if sha256 != listed.sha256:
                raise ValueError(f"{listed.path}: changed while the archive was written")
            archive.write(bytes(padding(listed.size_bytes)))
    except (ValueError, EOFError) as error:
        raise BundleError(f"{bundle.folder}: {error}") from None
    archive.write(END)


@contextlib.contextmanager
def _opened(archive: Path) -> Iterator[BinaryIO]:
    if not archive.is_file():
        raise BundleError(f"{archive}: no such file; give an archive as tools/export.py pack writes it")
    try:
        file = archive.open("rb")
    except OSError as error:
        raise BundleError(f"{archive}: cannot be read ({error.strerror})") from None
    with file:
        yield file


def _read_head(file: BinaryIO, where: Path) -> tuple[bytes, bytes | None, bytes]:
    """Manifest, signature if there is one, and the header that comes next."""
    header = file.read(BLOCK_BYTES)
    manifest = _read_small(file, header, MANIFEST_NAME, limit_bytes=MAX_MANIFEST_BYTES, where=where)
    header = file.read(BLOCK_BYTES)
    if len(header) < BLOCK_BYTES or header_path(header) != SIGNATURE_NAME:
        return manifest, None, header
    signature = _read_small(file, header, SIGNATURE_NAME, limit_bytes=MAX_SIGNATURE_BYTES, where=where)
    return manifest, signature, file.read(BLOCK_BYTES)


def _read_small(file: BinaryIO, header: bytes, name: str, *, limit_bytes: int, where: Path) -> bytes:
    digits = header[124:135]
    size = int(digits, 8) if len(digits) == 11 and set(digits) <= set(b"01234567") else 0
    if size > limit_bytes:
        raise BundleError(f"{where}: {name} claims {size} bytes; at most {limit_bytes} are accepted")
    _check_header(header, name, size, where=where)
    data = file.read(size)
    if len(data) < size:
        raise BundleError(f"{where}: ends early, inside {name}; copy the archive again")
    _check_padding(file, size, name, where=where)
    return data


def _check_header(header: bytes, path: str, size_bytes: int, *, where: Path) -> None:
    try:
        expected = tar_header(path, size_bytes)
    except ValueError as error:
        raise BundleError(f"{where}: {error}") from None
    if header != expected:
        raise BundleError(f"{where}: {header_difference(header, path, size_bytes)}; nothing was unpacked")


def _check_padding(file: BinaryIO, size_bytes: int, path: str, *, where: Path) -> None:
    if file.read(padding(size_bytes)) != bytes(padding(size_bytes)):
        raise BundleError(f"{where}: bytes hidden behind {path}; pack the bundle again")


def _check_length(
    file: BinaryIO, manifest: Manifest, manifest_bytes: bytes, signature: bytes | None, *, where: Path
) -> None:
    """The manifest says how long the archive is, so neither side can promise more than there is."""
    if len(manifest.files) > MAX_FILES:
        raise BundleError(f"{where}: lists {len(manifest.files)} files; at most {MAX_FILES} are accepted")
    sizes = [len(manifest_bytes), *([] if signature is None else [len(signature)])]
    sizes += [listed.size_bytes for listed in manifest.files]
    expected = sum(BLOCK_BYTES + size + padding(size) for size in sizes) + len(END)
    found = os.fstat(file.fileno()).st_size
    if found != expected:
        reason = "ends early" if found < expected else "has something behind its end, or hidden between its files"
        raise BundleError(f"{where}: {found} bytes, but its manifest stands for {expected}: it {reason}")


def _check_room(folder: Path, manifest: Manifest) -> None:
    needed = sum(listed.size_bytes for listed in manifest.files) + FREE_RESERVE_BYTES
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise StorageError(
            f"{folder}: {free} bytes free, the bundle needs {needed}; free space or choose another place"
        )


def _write_head(draft: Path, manifest_bytes: bytes, signature: bytes | None) -> None:
    (draft / MANIFEST_NAME).write_bytes(manifest_bytes)
    if signature is not None:
        (draft / SIGNATURE_NAME).write_bytes(signature)


def _unpack_files(file: BinaryIO, draft: Path, manifest: Manifest, *, first_header: bytes, where: Path) -> None:
    header = first_header
    for listed in _in_order(manifest):
        _check_header(header, listed.path, listed.size_bytes, where=where)
        path = draft / listed.path
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as output:
            try:
                sha256 = _copy(file, output, listed.size_bytes)
            except EOFError:
                raise BundleError(f"{where}: ends early, inside {listed.path}; copy the archive again") from None
        if sha256 != listed.sha256:
            raise BundleError(
                f"{where}: {listed.path}: altered; SHA-256 is {sha256}, the manifest says {listed.sha256}"
            )
        _check_padding(file, listed.size_bytes, listed.path, where=where)
        header = file.read(BLOCK_BYTES)
    if header + file.read() != END:
        raise BundleError(f"{where}: something other than the end behind the last file; pack the bundle again")


def _copy(source: BinaryIO, target: BinaryIO, size_bytes: int) -> str:
    """Copy exactly so many bytes; their SHA-256.

    Raises:
        EOFError: there are fewer.
    """
    digest, left = hashlib.sha256(), size_bytes
    while left:
        block = source.read(min(left, COPY_BYTES))
        if not block:
            raise EOFError("a file ended early")
        digest.update(block)
        target.write(block)
        left -= len(block)
    return digest.hexdigest()
