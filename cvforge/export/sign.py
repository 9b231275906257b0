"""Keys of the people who release models, and their signatures on bundles."""

from __future__ import annotations

import logging
import os
import stat
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cvforge.errors import ConfigError, RunExistsError, StorageError
from cvforge_edge.bundle import Bundle
from cvforge_edge.draft_folder import flush
from cvforge_edge.manifest import SIGNATURE_NAME, name_problems, read_manifest_bytes
from cvforge_edge.signature import Envelope, format_envelope, signed_bytes, statement_of
from cvforge_edge.trust import PUBLIC_SUFFIX, SHOWN_DIGITS, format_public_key, key_id

PRIVATE_SUFFIX = ".key"
PRIVATE_MODE, PUBLIC_MODE = 0o600, 0o644
GIT_TIMEOUT_S = 10
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SigningKey:
    """A private key in memory; it never shows itself in a message.

    Attributes:
        name: the file's name without its ending.
        private_key: ed25519.
    """

    name: str
    private_key: Ed25519PrivateKey

    def __repr__(self) -> str:
        return f"SigningKey({self})"

    def __str__(self) -> str:
        return f"{self.name} ({self.key_id[:SHOWN_DIGITS]})"

    @property
    def public_key(self) -> bytes:
        """32 bytes."""
        return self.private_key.public_key().public_bytes_raw()

    @property
    def key_id(self) -> str:
        """Of its public half, as devices see it."""
        return key_id(self.public_key)


def make_key(path: Path, *, passphrase: bytes | None) -> SigningKey:
    """Write a new private key to `path`, which ends in `.key`, and its public half beside it.

    Args:
        path: for instance `~/keys/team-a.key`; nothing may be there yet.
        passphrase: encrypts the private file; None leaves it readable for whoever gets the file.

    Raises:
        ConfigError: the name or the place is not fit for a private key.
        RunExistsError: one of the two files exists.
        StorageError: they cannot be written.
    """
    _check_place(path)
    key = SigningKey(path.name.removesuffix(PRIVATE_SUFFIX), Ed25519PrivateKey.generate())
    encryption = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    pem = key.private_key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    public = path.with_suffix(PUBLIC_SUFFIX)
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        _write_new(path, pem, mode=PRIVATE_MODE)
        _write_new(public, format_public_key(key.public_key).encode("ascii"), mode=PUBLIC_MODE)
        flush(path.parent)
    except OSError as error:
        raise StorageError(f"{path}: the key cannot be written ({error.strerror})") from None
    return key


def read_key(path: Path, *, passphrase: bytes | None) -> SigningKey:
    """The private key in a file that `make_key` or `openssl genpkey -algorithm ed25519` wrote.

    Raises:
        ConfigError: there is none, the passphrase is missing or wrong, or it is of another kind.
    """
    pem = _read_pem(path)
    try:
        private_key = serialization.load_pem_private_key(pem, passphrase)
    except TypeError:  # cryptography's word for a passphrase that is missing, or given for a file without one
        word = "needs its passphrase" if passphrase is None else "has no passphrase, but one was given"
        raise ConfigError(f"--key {path}: {word}") from None
    except ValueError:
        reason = "damaged, or not a private key in PEM form" if passphrase is None else "wrong passphrase, or damaged"
        raise ConfigError(f"--key {path}: {reason}") from None
    if not isinstance(private_key, Ed25519PrivateKey):
        raise ConfigError(f"--key {path}: not an ed25519 key; make one with tools/export.py keygen")
    return SigningKey(path.name.removesuffix(PRIVATE_SUFFIX), private_key)


def is_encrypted(path: Path) -> bool:
    """Whether a private key file asks for a passphrase.

    Raises:
        ConfigError: it cannot be read.
    """
    return b"ENCRYPTED PRIVATE KEY" in _read_pem(path)


def sign_folder(folder: Path, keys: Sequence[SigningKey]) -> Path:
    """Write `signature.json` for the manifest of a bundle folder, whole or not at all; an old one is replaced.

    The caller has checked the bundle: who signs a manifest vouches for every file that it lists.
    """
    statement = statement_of(read_manifest_bytes(folder))
    message = signed_bytes(statement)
    envelope = Envelope(statement, {key.key_id: key.private_key.sign(message) for key in keys})
    path = folder / SIGNATURE_NAME
    # Beside the folder: what a killed process left inside would be unlisted, and the whole bundle be refused.
    place = folder.resolve()
    draft = place.with_name(f".{place.name.lstrip('.')}.{SIGNATURE_NAME}")
    try:
        draft.write_bytes(format_envelope(envelope))
        flush(draft)
        draft.replace(path)
        flush(folder)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise StorageError(f"{path}: cannot be written ({error.strerror})") from None
    return path


def sign_bundle(bundle: Bundle, keys: Sequence[SigningKey], *, replace: bool) -> Path:
    """Sign a bundle that was opened, and so is whole.

    Raises:
        RunExistsError: it is signed already and `replace` is false.
        StorageError: the signature cannot be written.
    """
    if (bundle.folder / SIGNATURE_NAME).exists() and not replace:
        raise RunExistsError(f"{bundle.folder}: is signed already; --force replaces the signature")
    return sign_folder(bundle.folder, keys)


def _check_place(path: Path) -> None:
    name = path.name.removesuffix(PRIVATE_SUFFIX)
    if path.suffix != PRIVATE_SUFFIX or not name or name_problems(name):
        raise ConfigError(f"--output {path}: expected a name such as keys/team-a{PRIVATE_SUFFIX}")
    taken = [file for file in (path, path.with_suffix(PUBLIC_SUFFIX)) if file.exists() or file.is_symlink()]
    if taken:
        raise RunExistsError(f"--output {path}: {', '.join(map(str, taken))} exists; a key is never overwritten")
    repository = _repository_of(path)
    if repository is not None and not _is_ignored(path, repository):
        raise ConfigError(
            f"--output {path}: inside the git repository {repository}, from where a private key is pushed by mistake; "
            "give a place outside, for instance in your home folder"
        )


def _repository_of(path: Path) -> Path | None:
    """The git work tree that a path lies in; found without git, so that a missing git hides nothing."""
    return next((folder for folder in path.resolve().parents if (folder / ".git").exists()), None)


def _is_ignored(path: Path, repository: Path) -> bool:
    command = ["git", "-C", str(repository), "check-ignore", "-q", str(path.resolve())]
    try:
        return subprocess.run(command, capture_output=True, timeout=GIT_TIMEOUT_S, check=False).returncode == 0
    except (OSError, subprocess.SubprocessError):
        return False


def _write_new(path: Path, data: bytes, *, mode: int) -> None:
    """Create a file that nobody else can read for a moment in between."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(descriptor)


def _read_pem(path: Path) -> bytes:
    try:
        status = path.stat()
        pem = path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"--key {path}: cannot be read ({error.strerror}); tools/export.py keygen makes one"
        ) from None
    if stat.S_IMODE(status.st_mode) & (stat.S_IRWXG | stat.S_IRWXO):
        logger.warning("%s: other users of this machine can read this private key; run chmod 600 on it", path)
    return pem
