"""Who vouches for a bundle: `signature.json` binds the manifest, and the manifest binds every other file.

The file is a DSSE 1.0 envelope (as in Sigstore, in-toto and OpenSSF model signing) around an in-toto statement that names
the SHA-256 of `manifest.json`, signed with ed25519. docs/decisions/0008 says why, and docs/security.md what it is good for.
```
{"payload": "<base64 of the statement>", "payloadType": "application/vnd.in-toto+json",
 "signatures": [{"keyid": "<SHA-256 of the public key>", "sig": "<base64 of 64 bytes>"}]}
{"_type": "https://in-toto.io/Statement/v1", "predicateType": "urn:cvforge:bundle:v1", "predicate": {},
 "subject": [{"name": "manifest.json", "digest": {"sha256": "..."}}]}
```
Sources: DSSE protocol 1.0 (secure-systems-lab/dsse, protocol.md), in-toto attestation framework, statement v1.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping
from pathlib import Path

from cvforge_edge.errors import SignatureError, UsageError
from cvforge_edge.manifest import MANIFEST_NAME, SIGNATURE_NAME
from cvforge_edge.plain_file import read_plain_file
from cvforge_edge.records import dataclass
from cvforge_edge.strict_json import Fields, format_json, parse_strict
from cvforge_edge.trust import SHOWN_DIGITS, TrustedKey, TrustStore

PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "urn:cvforge:bundle:v1"
MAX_SIGNATURE_BYTES = 64 * 1024
SIGN_AGAIN = "sign the bundle again (tools/export.py sign), or get it again from its maker"
INSTALL_LINE = "pip install cryptography"


@dataclass(frozen=True)
class Envelope:
    """A statement and its signatures.

    Attributes:
        statement: the signed bytes.
        signatures: key id -> 64 bytes.
    """

    statement: bytes
    signatures: Mapping[str, bytes]


def statement_of(manifest_bytes: bytes) -> bytes:
    """The statement that a signer of this manifest makes; the same manifest always gives the same bytes."""
    digest = hashlib.sha256(manifest_bytes).hexdigest()
    return format_json(
        {
            "_type": STATEMENT_TYPE,
            "subject": [{"name": MANIFEST_NAME, "digest": {"sha256": digest}}],
            "predicateType": PREDICATE_TYPE,
            "predicate": {},
        }
    ).encode("utf-8")


def signed_bytes(statement: bytes, payload_type: str = PAYLOAD_TYPE) -> bytes:
    """What the key signs: type and length come first, so that nothing else can be mistaken for a statement.

    Source: DSSE 1.0, protocol.md, PAE.

    >>> signed_bytes(b"hello world", "http://example.com/HelloWorld")
    b'DSSEv1 29 http://example.com/HelloWorld 11 hello world'
    """
    kind = payload_type.encode("utf-8")
    return b" ".join([b"DSSEv1", b"%d" % len(kind), kind, b"%d" % len(statement), statement])


def format_envelope(envelope: Envelope) -> bytes:
    """The content of `signature.json`; the same envelope always gives the same bytes."""
    return format_json(
        {
            "payload": base64.b64encode(envelope.statement).decode("ascii"),
            "payloadType": PAYLOAD_TYPE,
            "signatures": [
                {"keyid": name, "sig": base64.b64encode(signature).decode("ascii")}
                for name, signature in sorted(envelope.signatures.items())
            ],
        }
    ).encode("utf-8")


def read_signature(folder: Path | str) -> bytes | None:
    """The content of a bundle's `signature.json`; None for an unsigned bundle.

    Raises:
        SignatureError: it is no plain file, or too long.
    """
    path = Path(folder) / SIGNATURE_NAME
    try:
        return read_plain_file(path, limit_bytes=MAX_SIGNATURE_BYTES)
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise SignatureError(f"{path}: {error}; {SIGN_AGAIN}") from None


def check_signature(
    manifest_bytes: bytes, signature: bytes | None, *, trust: TrustStore | None, where: str
) -> tuple[TrustedKey, ...]:
    """The trusted keys that vouch for a manifest, found before the manifest is parsed.

    Args:
        manifest_bytes: content of `manifest.json`.
        signature: content of `signature.json`; None where there is none.
        trust: the keys of this device; None only holds the signature, if there is one, against the manifest.
        where: the bundle, for messages.

    Returns:
        The trusted keys among the signers: at least one where `trust` is given, else none.

    Raises:
        SignatureError: not signed, not by a trusted key, damaged, or for another manifest.
        UsageError: `trust` is given and the cryptographic library is not installed.
    """
    if signature is None:
        if trust is None:
            return ()
        raise SignatureError(
            f"{where}: not signed (no {SIGNATURE_NAME}), but --trust {trust.where} asks for it; {SIGN_AGAIN}"
        )
    where = f"{where}: {SIGNATURE_NAME}"
    envelope = parse_envelope(signature, where=where)
    signers = () if trust is None else _trusted_signers(envelope, trust, where=where)
    if envelope.statement != statement_of(manifest_bytes):
        raise SignatureError(
            f"{where}: belongs to another {MANIFEST_NAME}, or this one was altered after signing; {SIGN_AGAIN}"
        )
    return signers


def check_model_name(name: str, signers: tuple[TrustedKey, ...], *, where: str) -> None:
    """Refuse a model whose signers are trusted for other models only.

    Raises:
        SignatureError: no signer may sign a model of this name.
    """
    if any(key.may_sign(name) for key in signers):
        return
    allowed = "; ".join(f"{key} for {', '.join(key.models)}" for key in signers)
    raise SignatureError(
        f"{where}: its model {name!r} is signed by a key that is trusted for other models only: {allowed}. Get the "
        f"model from its own maker, or add its name to the 'models:' line of the key"
    )


def parse_envelope(data: bytes, *, where: str) -> Envelope:
    """The envelope in the content of a `signature.json`.

    Only the form that `format_envelope` writes is accepted, byte for byte: DSSE leaves open how its JSON is laid out, and
    no byte of a signed bundle shall be free to change.

    Raises:
        SignatureError: damaged, or in another form.
    """
    try:
        text = data.decode("utf-8")
        value = parse_strict(text)
        problems: list[str] = []
        envelope = _read_envelope(Fields(value, key="", problems=problems))
        if problems:
            raise ValueError("; ".join(problems))
        if envelope is None or format_envelope(envelope) != data:
            raise ValueError("not in the form that tools/export.py sign writes")
    except (ValueError, binascii.Error) as error:
        raise SignatureError(f"{where}: damaged ({error}); {SIGN_AGAIN}") from None
    return envelope


def _read_envelope(fields: Fields) -> Envelope | None:
    payload, kind = fields.text("payload"), fields.choice("payloadType", (PAYLOAD_TYPE,))
    signatures: dict[str, bytes] = {}
    for entry in fields.objects("signatures") or ():
        name, signature = entry.text("keyid"), entry.text("sig")
        entry.finish()
        if name is not None and signature is not None:
            signatures[name] = base64.b64decode(signature, validate=True)
    fields.finish()
    if payload is None or kind is None or not signatures:
        return None
    return Envelope(base64.b64decode(payload, validate=True), signatures)


def _trusted_signers(envelope: Envelope, trust: TrustStore, *, where: str) -> tuple[TrustedKey, ...]:
    """Every trusted key among the signers; a wrong signature of one spoils all."""
    known = {name: key for name in envelope.signatures if (key := trust.find(name)) is not None}
    if not known:
        found = ", ".join(name[:SHOWN_DIGITS] for name in envelope.signatures)
        raise SignatureError(
            f"{where}: signed by unknown key {found}; --trust {trust.where} holds "
            f"{', '.join(map(str, trust.keys))}. Add the maker's *.pub file there only if you know that it is theirs"
        )
    for name, key in known.items():
        if not _verifies(key.public_key, envelope.signatures[name], signed_bytes(envelope.statement)):
            raise SignatureError(f"{where}: was not made by key {key}, or was altered since; {SIGN_AGAIN}")
    return tuple(known.values())


def _verifies(public_key: bytes, signature: bytes, message: bytes) -> bool:
    try:
        from cryptography.exceptions import InvalidSignature  # only a device that checks signatures needs it
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    except ImportError as error:
        raise UsageError(f"--trust: signatures cannot be checked here ({error}); {INSTALL_LINE}") from None
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message)
    except InvalidSignature:
        return False
    return True
