"""Keys and signatures for tests, made with the cryptographic library directly."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from cvforge_edge.signature import Envelope, format_envelope, signed_bytes, statement_of
from cvforge_edge.trust import TrustedKey, TrustStore, key_id


def private_key(seed: int) -> Ed25519PrivateKey:
    """The same key for the same number from 0 to 255."""
    return Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32)


def public_bytes(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def public_pem(key: Ed25519PrivateKey) -> str:
    """As the library writes it, not as we do."""
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode("ascii")


def envelope_of(manifest: bytes, keys: Sequence[Ed25519PrivateKey]) -> bytes:
    statement = statement_of(manifest)
    message = signed_bytes(statement)
    return format_envelope(Envelope(statement, {key_id(public_bytes(key)): key.sign(message) for key in keys}))


def sign_folder(folder: Path, *keys: Ed25519PrivateKey) -> None:
    (folder / "signature.json").write_bytes(envelope_of((folder / "manifest.json").read_bytes(), keys))


def trusting(key: Ed25519PrivateKey, *models: str, name: str = "maker") -> TrustStore:
    return TrustStore((TrustedKey(name, public_bytes(key), models or ("*",)),), "keys")
