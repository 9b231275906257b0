"""Whose signature a device accepts, and for which models: public keys in files, read without a cryptographic library.

A trust store is a folder of `NAME.pub` files, or one such file. Each holds one ed25519 public key as PEM, as
`tools/export.py keygen` and `openssl pkey -pubout` write it. Lines above the key may restrict it to models:
```
# The line team; see the rota for who holds the private key.
models: cells, cells-*
-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEA...
-----END PUBLIC KEY-----
```
To stop trusting a key, remove its file.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from fnmatch import fnmatchcase
from pathlib import Path

from cvforge_edge.errors import UsageError
from cvforge_edge.manifest import name_problems
from cvforge_edge.records import dataclass

PUBLIC_SUFFIX = ".pub"
PEM_BEGIN, PEM_END = "-----BEGIN PUBLIC KEY-----", "-----END PUBLIC KEY-----"
ED25519_PREFIX = bytes.fromhex("302a300506032b6570032100")
"""What comes before the 32 bytes of the key. Source: RFC 8410, sections 3 and 4 (SubjectPublicKeyInfo)."""
KEY_BYTES = 32
MAX_KEY_FILE_BYTES = 16 * 1024
SHOWN_DIGITS = 16
ANY_MODEL = ("*",)
MODELS_LINE = "models:"
_PATTERN = re.compile(r"[A-Za-z0-9._*-]+")


@dataclass(frozen=True)
class TrustedKey:
    """A public key whose signatures are accepted.

    Attributes:
        name: the file's name without its ending; only for people.
        public_key: 32 bytes, ed25519.
        models: names of models that it may sign; `*` stands for any characters.
    """

    name: str
    public_key: bytes
    models: tuple[str, ...] = ANY_MODEL

    @property
    def key_id(self) -> str:
        """`key_id` of this key."""
        return key_id(self.public_key)

    def may_sign(self, model: str) -> bool:
        """Whether a model of this name may come from this key."""
        return any(fnmatchcase(model, pattern) for pattern in self.models)

    def __str__(self) -> str:
        return f"{self.name} ({self.key_id[:SHOWN_DIGITS]})"


@dataclass(frozen=True)
class TrustStore:
    """The keys that a device trusts, at least one.

    Attributes:
        keys: no key twice.
        where: path it was read from, for messages.
    """

    keys: tuple[TrustedKey, ...]
    where: str

    def find(self, wanted_id: str) -> TrustedKey | None:
        """The key of an id."""
        return next((key for key in self.keys if key.key_id == wanted_id), None)


def key_id(public_key: bytes) -> str:
    """SHA-256 of the DER form of an ed25519 public key, 64 hexadecimal digits.

    The same as `openssl pkey -pubin -in NAME.pub -outform DER | sha256sum`.
    """
    return hashlib.sha256(ED25519_PREFIX + public_key).hexdigest()


def read_trust(path: Path | str) -> TrustStore:
    """The trust store at a path.

    Raises:
        UsageError: there is none, it holds no key, or a file in it is wrong; every problem is listed.
    """
    path = Path(path)
    if not path.exists():
        raise UsageError(f"--trust {path}: no such file or folder; give a folder of *{PUBLIC_SUFFIX} files, or one")
    files = sorted(path.glob(f"*{PUBLIC_SUFFIX}")) if path.is_dir() else [path]
    keys: list[TrustedKey] = []
    problems = [] if files else [f"no *{PUBLIC_SUFFIX} file in it; make a key with tools/export.py keygen"]
    for file in files:
        try:
            key = parse_public_key(_read_text(file), name=file.name.removesuffix(PUBLIC_SUFFIX))
        except ValueError as error:
            problems.append(f"{file.name}: {error}")
            continue
        problems += [f"{file.name}: the same key as {other.name}" for other in keys if other.key_id == key.key_id]
        keys.append(key)
    if problems:
        raise UsageError(f"--trust {path}: " + "; ".join(problems))
    return TrustStore(tuple(keys), str(path))


def read_optional_trust(path: Path | str | None) -> TrustStore | None:
    """As `read_trust`, for an option that may be missing: without it, None, and any bundle is taken.

    Raises:
        UsageError: as `read_trust`.
    """
    return None if path is None else read_trust(path)


def parse_public_key(text: str, *, name: str) -> TrustedKey:
    """The key in the text of a `.pub` file.

    Raises:
        ValueError: not one ed25519 public key, or a line that means nothing.
    """
    if "PRIVATE KEY" in text:
        raise ValueError(f"a private key, which must stay with its owner; give the *{PUBLIC_SUFFIX} file")
    if name_problems(name):
        raise ValueError(f"found key name {name!r}, accepted letters, digits, '.', '_', '-'")
    before, begin, rest = text.partition(PEM_BEGIN)
    body, end, after = rest.partition(PEM_END)
    if not begin or not end or after.strip():
        raise ValueError("not one public key in PEM form (BEGIN PUBLIC KEY ... END PUBLIC KEY)")
    try:
        der = base64.b64decode("".join(body.split()), validate=True)
    except binascii.Error as error:
        raise ValueError(f"its PEM text is damaged ({error})") from None
    if not der.startswith(ED25519_PREFIX) or len(der) != len(ED25519_PREFIX) + KEY_BYTES:
        raise ValueError("not an ed25519 key; make one with tools/export.py keygen")
    return TrustedKey(name, der[len(ED25519_PREFIX) :], _models(before))


def format_public_key(public_key: bytes) -> str:
    """The PEM text of an ed25519 public key of 32 bytes."""
    return f"{PEM_BEGIN}\n{base64.b64encode(ED25519_PREFIX + public_key).decode('ascii')}\n{PEM_END}\n"


def _read_text(file: Path) -> str:
    try:
        if file.stat().st_size > MAX_KEY_FILE_BYTES or not file.is_file():
            raise ValueError(f"not a plain file of at most {MAX_KEY_FILE_BYTES} bytes")
        return file.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"cannot be read ({error})") from None


def _models(text: str) -> tuple[str, ...]:
    """The models of the lines above a key; a misspelt line must not silently lift a restriction."""
    found: tuple[str, ...] | None = None
    for line in (line.strip() for line in text.splitlines()):
        if not line or line.startswith("#"):
            continue
        patterns = tuple(part.strip() for part in line.removeprefix(MODELS_LINE).split(","))
        if found is not None or not line.startswith(MODELS_LINE) or not all(map(_PATTERN.fullmatch, patterns)):
            raise ValueError(
                f"found line {line!r}, accepted one line such as 'models: cells, line-2-*', and comments #"
            )
        found = patterns
    return ANY_MODEL if found is None else found
