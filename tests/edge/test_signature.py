"""Who vouches for a bundle: keys, names, versions, and forms that other programs understand."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cvforge_edge.bundle import open_bundle, open_bundle_to_sign
from cvforge_edge.errors import BundleError, SignatureError, StorageError, UsageError
from cvforge_edge.signature import check_signature, signed_bytes
from cvforge_edge.trust import format_public_key, parse_public_key, read_trust
from cvforge_edge.versions import Release, accept_release, accepted_release, check_not_older, default_record_path
from edge.signing import envelope_of, private_key, public_bytes, public_pem, sign_folder, trusting

KEY, OTHER = private_key(1), private_key(2)


def test_the_signed_bytes_are_those_of_the_dsse_specification() -> None:
    # Source: secure-systems-lab/dsse, protocol.md, "Test vectors".
    expected = b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    assert signed_bytes(b"hello world", "http://example.com/HelloWorld") == expected


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_openssl_verifies_a_signature_with_the_public_file(tmp_path: Path) -> None:
    envelope = json.loads(envelope_of(b"manifest", [KEY]))
    payload, kind = base64.b64decode(envelope["payload"]), envelope["payloadType"].encode()
    (tmp_path / "message").write_bytes(b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload))
    (tmp_path / "signature").write_bytes(base64.b64decode(envelope["signatures"][0]["sig"]))
    (tmp_path / "key.pub").write_text(format_public_key(public_bytes(KEY)))
    command = [
        "openssl",
        "pkeyutl",
        "-verify",
        "-pubin",
        "-inkey",
        "key.pub",
        "-rawin",
        "-in",
        "message",
        "-sigfile",
        "signature",
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "Signature Verified Successfully"), done.stderr
    der = subprocess.run(
        ["openssl", "pkey", "-pubin", "-in", "key.pub", "-outform", "DER"],
        cwd=tmp_path,
        capture_output=True,
        check=True,
    ).stdout
    digest = subprocess.run(["sha256sum"], input=der, capture_output=True, check=True).stdout.decode().split()[0]
    assert envelope["signatures"][0]["keyid"] == digest


def test_the_statement_names_the_manifest_as_in_toto_asks() -> None:
    statement = json.loads(base64.b64decode(json.loads(envelope_of(b"abc", [KEY]))["payload"]))
    sha256_of_abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-4, appendix
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["subject"] == [{"name": "manifest.json", "digest": {"sha256": sha256_of_abc}}]


def test_a_bundle_tells_who_signed_it(make_bundle) -> None:
    folder = make_bundle(formats=("onnx",), golden=False)
    assert open_bundle(folder).signers == ()
    sign_folder(folder, KEY)
    assert [str(key) for key in open_bundle(folder, trust=trusting(KEY)).signers] == ["maker (fd110d301d2f077d)"]
    assert open_bundle(folder).signers == ()


def test_the_signature_is_asked_before_the_manifest_is_parsed(make_bundle, monkeypatch) -> None:
    folder = make_bundle(formats=("onnx",), golden=False)
    sign_folder(folder, OTHER)
    monkeypatch.setattr(
        "cvforge_edge.manifest.decode_manifest", lambda *_, **__: pytest.fail("the manifest was parsed")
    )
    with pytest.raises(SignatureError, match="signed by unknown key 47dea5") as caught:
        open_bundle(folder, trust=trusting(KEY))
    assert caught.value.exit_code == 7


def test_two_signatures_carry_a_fleet_from_one_key_to_the_next() -> None:
    both = envelope_of(b"manifest", [KEY, OTHER])
    for key in (KEY, OTHER):
        signers = check_signature(b"manifest", both, trust=trusting(key), where="bundle")
        assert [signer.public_key for signer in signers] == [public_bytes(key)]


def test_one_wrong_signature_among_two_spoils_both() -> None:
    envelope = json.loads(envelope_of(b"manifest", [KEY, OTHER]))
    first, second = envelope["signatures"]
    first["sig"], second["sig"] = second["sig"], first["sig"]
    text = (json.dumps(envelope, indent=2, sort_keys=True) + "\n").encode()
    with pytest.raises(SignatureError, match=r"was not made by key maker \("):
        check_signature(b"manifest", text, trust=trusting(KEY), where="bundle")


def test_without_the_library_a_signature_is_not_taken_on_trust(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.asymmetric.ed25519", None)
    with pytest.raises(UsageError, match="cannot be checked here .*; pip install cryptography"):
        check_signature(b"manifest", envelope_of(b"manifest", [KEY]), trust=trusting(KEY), where="bundle")


def test_who_signs_must_see_a_bundle_without_foreign_files(make_bundle) -> None:
    folder = make_bundle(formats=("onnx",), golden=False)
    (folder / "signature.json").write_bytes(b"stale")
    assert open_bundle_to_sign(folder).manifest.name == "tiny-detector"
    (folder / "note.txt").write_bytes(b"")
    with pytest.raises(BundleError, match=r"note\.txt: not listed in the manifest"):
        open_bundle_to_sign(folder)


def test_a_trust_folder_names_its_keys_and_their_models(tmp_path: Path) -> None:
    (tmp_path / "team-a.pub").write_text("# the line team\nmodels: cells, cells-*\n" + public_pem(KEY))
    (tmp_path / "team-b.pub").write_text(public_pem(OTHER))
    (tmp_path / "README").write_text("not a key")
    first, second = read_trust(tmp_path).keys
    assert (first.name, first.models, second.name, second.models) == ("team-a", ("cells", "cells-*"), "team-b", ("*",))
    assert first.public_key == public_bytes(KEY)
    assert [first.may_sign(name) for name in ("cells", "cells-2", "cell", "my-cells")] == [True, True, False, False]
    assert second.may_sign("anything")
    assert read_trust(tmp_path / "team-b.pub").keys == (second,)


def test_public_keys_are_written_as_the_library_reads_them() -> None:
    assert format_public_key(public_bytes(KEY)) == public_pem(KEY)
    assert parse_public_key(public_pem(KEY), name="a").public_key == public_bytes(KEY)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not one public key in PEM form"),
        (public_pem(KEY) + public_pem(OTHER), "not one public key in PEM form"),
        ("model: cells\n" + public_pem(KEY), "found line 'model: cells', accepted one line such as 'models:"),
        ("models: a b\n" + public_pem(KEY), "found line 'models: a b'"),
        ("models: a\nmodels: b\n" + public_pem(KEY), "found line 'models: b'"),
        ("models:\n" + public_pem(KEY), "found line 'models:'"),
        (public_pem(KEY).replace("MCow", "MCo!"), "its PEM text is damaged"),
        (public_pem(KEY).replace("MCowBQYDK2Vw", "MCowBQYDK2Vu"), "not an ed25519 key"),  # X25519
        ("-----BEGIN PRIVATE KEY-----\n", "a private key, which must stay with its owner"),
    ],
)
def test_a_trust_file_that_is_wrong_is_named(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "bad.pub").write_text(text)
    with pytest.raises(UsageError) as caught:
        read_trust(tmp_path)
    assert f"--trust {tmp_path}: bad.pub: " in str(caught.value)
    assert words in str(caught.value)


def test_a_trust_store_that_trusts_nobody_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no \*\.pub file in it"):
        read_trust(tmp_path)
    with pytest.raises(UsageError, match="no such file or folder"):
        read_trust(tmp_path / "missing")
    for name in ("a", "b"):
        (tmp_path / f"{name}.pub").write_text(public_pem(KEY))
    with pytest.raises(UsageError, match=r"b\.pub: the same key as a$"):
        read_trust(tmp_path)


def release(version: int, content: str = "a") -> Release:
    return Release(version, content * 64)


@pytest.mark.parametrize(
    ("accepted", "offered"), [(None, release(1)), (release(1), release(1)), (release(1), release(2, "b"))]
)
def test_the_same_and_newer_releases_are_accepted(accepted: Release | None, offered: Release) -> None:
    check_not_older(accepted, offered, name="cells")


def test_another_release_of_the_same_version_is_refused() -> None:
    with pytest.raises(SignatureError, match="this is not the version 2 that .* --model-version of at least 3"):
        check_not_older(release(2), release(2, "b"), name="cells")


def test_an_older_version_is_refused_and_the_record_survives(tmp_path: Path) -> None:
    record = tmp_path / "state" / "accepted.json"
    assert accepted_release(record, "cells") is None
    accept_release(record, "cells", release(2))
    accept_release(record, "other", release(7))
    for offered, message in ((release(1), "version 1 is older than version 2"), (release(2, "b"), "not the version 2")):
        with pytest.raises(SignatureError, match=f"'cells': .*{message}"):
            accept_release(record, "cells", offered)
    accept_release(record, "cells", release(3, "c"))
    assert accepted_release(record, "cells") == release(3, "c")
    assert json.loads(record.read_text()) == {
        "cells": {"version": 3, "manifest_sha256": "c" * 64},
        "other": {"version": 7, "manifest_sha256": "a" * 64},
    }
    assert sorted(path.name for path in record.parent.iterdir()) == ["accepted.json", "accepted.json.lock"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"cells": 1}',
        '{"cells": {"version": 1}}',
        json.dumps({"cells": {"version": 0, "manifest_sha256": "a" * 64}}),
        json.dumps({"cells": {"version": 1, "manifest_sha256": "a" * 63}}),
        json.dumps({"cells": {"version": 1, "manifest_sha256": "a" * 64, "more": 1}}),
        json.dumps({"../x": {"version": 1, "manifest_sha256": "a" * 64}}),
        '{"cells": ',
    ],
)
def test_a_damaged_record_stops_instead_of_forgetting(tmp_path: Path, text: str) -> None:
    record = tmp_path / "accepted.json"
    record.write_text(text)
    for read in (lambda: accepted_release(record, "cells"), lambda: accept_release(record, "cells", release(1))):
        with pytest.raises(StorageError, match="record of accepted versions is damaged"):
            read()
    assert record.read_text() == text


def test_a_service_keeps_its_record_in_the_folder_that_systemd_gives_it(monkeypatch) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/cvforge")
    assert default_record_path() == Path("/var/lib/cvforge/accepted_versions.json")
    monkeypatch.delenv("STATE_DIRECTORY")
    monkeypatch.setenv("XDG_STATE_HOME", "/home/me/state")
    assert default_record_path() == Path("/home/me/state/cvforge/accepted_versions.json")
