"""More than 500 damaged and forged bundles, each refused with its reason before a line of any model runtime runs."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cvforge_edge.archive import pack_bundle, unpack_bundle
from cvforge_edge.bundle import open_bundle
from cvforge_edge.errors import BundleError
from cvforge_edge.manifest import read_manifest, write_manifest
from cvforge_edge.selftest import run_self_test
from cvforge_edge.trust import TrustStore
from edge.mutations import (
    Files,
    content_mutations,
    document_mutations,
    folder_mutations,
    golden_mutations,
    manifest_mutations,
    read_files,
    write_files,
)
from edge.signing import private_key, sign_folder, trusting
from edge.tar_mutations import archive_mutations

KEY, STRANGER = private_key(1), private_key(2)
TRUST = trusting(KEY)
BUNDLE_CODE = 7
EXPECTED_REASONS = {
    "model is of type b'1'": "'model_fp32.onnx' is a hard link; an archive of a bundle holds plain files",
    "model is of type b'2'": "'model_fp32.onnx' is a symbolic link",
    "model is of type b'3'": "'model_fp32.onnx' is a character device",
    "model is of type b'S'": "'model_fp32.onnx' is a sparse file",
    "model is of type b'x'": "'model_fp32.onnx' is an extended header",
    "model renamed ../evil": "found '../evil', expected model_fp32.onnx of",
    "model renamed /tmp/evil": "found '/tmp/evil', expected model_fp32.onnx of",
    "member ../evil more": "something behind its end",
    "a member twice": "something behind its end",
    "a member missing": "it ends early",
    "manifest of 8589934591 bytes": "manifest.json claims 8589934591 bytes; at most 16777216 are accepted",
    "model of 1073741824 bytes": "'model_fp32.onnx' is declared with '10000000000' (octal) bytes",
    "two members exchanged": "once each, in order",
    "hidden bytes behind a file": "bytes hidden behind model_fp32.onnx",
    "tarfile w:gz": "a gzip file; expected a plain tar",
    "zip": "a zip file; expected a plain tar",
}


class ModelCodeRanError(Exception):
    """The device would have handed a file to an inference runtime."""


@pytest.fixture(scope="module")
def whole(module_bundle: Path) -> Files:
    """A signed bundle of one ONNX model and one golden image."""
    sign_folder(module_bundle, KEY)
    return read_files(module_bundle)


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., str]]:
    """Starts a device on a bundle as run_camera does; what it says when it refuses."""

    def model_code(*_arguments: object, **_options: object) -> None:
        raise ModelCodeRanError

    monkeypatch.setattr("cvforge_edge.selftest.open_backend", model_code)
    monkeypatch.setattr("cvforge_edge.predictor.open_backend", model_code)
    folder = tmp_path / "bundle"

    def run(files: Files, trust: TrustStore | None, *, change: Callable[[Path], None] | None = None) -> str:
        write_files(files, folder)
        try:
            if change is not None:
                change(folder)
            run_self_test(open_bundle(folder, trust=trust))
        except BundleError as error:
            assert error.exit_code == BUNDLE_CODE
            return str(error)
        finally:
            for leftover in tmp_path.iterdir():
                shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
        raise AssertionError("the self-test cannot have passed")

    yield run


def test_the_untouched_bundle_reaches_the_model(start, whole) -> None:
    for trust in (TRUST, None):
        with pytest.raises(ModelCodeRanError):
            start(whole, trust)


def test_a_signed_bundle_refuses_every_change_of_a_byte_or_a_file(start, whole) -> None:
    mutations = list(content_mutations(whole))
    assert len(mutations) >= 300
    for name, files in mutations:
        message = start(files, TRUST)
        changed = {path for path in {*whole, *files} if whole.get(path) != files.get(path)}
        named = {path for path in changed if path in message}
        assert named, f"{name}: refused without naming what is wrong: {message}"


def test_a_signed_bundle_refuses_links_pipes_devices_and_folders(start, whole) -> None:
    mutations = list(folder_mutations(sorted(whole)))
    assert len(mutations) >= 24
    for name, change in mutations:
        message = start(whole, TRUST, change=change)
        assert any(word in message for word in ("link", "plain file", "missing", "not listed", "cannot be read")), name


def test_a_signed_bundle_refuses_every_change_of_its_manifest_before_reading_it(start, whole) -> None:
    manifest = json.loads(whole["manifest.json"])
    mutations = [*document_mutations(manifest), *manifest_mutations(manifest)]
    assert len(mutations) >= 250
    for name, text in mutations:
        message = start({**whole, "manifest.json": text.encode("utf-8")}, TRUST)
        assert "signature.json: belongs to another manifest.json, or this one was altered" in message, name


def test_a_signed_bundle_refuses_every_change_of_its_signature(start, whole) -> None:
    envelope = json.loads(whole["signature.json"])
    mutations = list(document_mutations(envelope))
    mutations += [("laid out otherwise", json.dumps(envelope)), ("a key more", json.dumps({**envelope, "extra": 1}))]
    assert len(mutations) >= 40
    for name, text in mutations:
        assert "signature.json: " in start({**whole, "signature.json": text.encode("utf-8")}, TRUST), name


def test_the_free_bits_of_base64_cannot_be_used(start, whole) -> None:
    """Base64 of 64 bytes has four bits that mean nothing: another last letter stands for the same signature."""
    text = whole["signature.json"].decode("ascii")
    signature = json.loads(text)["signatures"][0]["sig"]
    other = signature[:-3] + {"A": "B", "Q": "R", "g": "h", "w": "x"}[signature[-3]] + "=="
    message = start({**whole, "signature.json": text.replace(signature, other).encode("ascii")}, TRUST)
    assert "not in the form that tools/export.py sign writes" in message


def named_key(mutation: str) -> str:
    """The key that a mutation of one place is about; of the whole document, the bundle."""
    keys = re.findall(r"'(\w+)'", mutation.partition(")")[0]) if mutation.startswith("(") else []
    return keys[-1] if keys else "bundle"


def test_an_unsigned_bundle_refuses_documents_that_are_wrong_and_says_where(start, whole) -> None:
    files = {path: data for path, data in whole.items() if path != "signature.json"}
    manifest = json.loads(files["manifest.json"])
    mutations = [*document_mutations(manifest), *manifest_mutations(manifest)]
    free = ("'reference_statistics'", "'provenance'", "'version',) = ")  # free text, or another valid number
    survivors = []
    for name, text in mutations:
        try:
            message = start({**files, "manifest.json": text.encode("utf-8")}, None)
        except ModelCodeRanError:
            survivors.append(name)
            continue
        assert len(message) < 20_000, f"{name}: {len(message)} characters of message"
        assert named_key(name) in message or "Infinity is not a number" in message, f"{name}: {message}"
    assert [name for name in survivors if not any(word in name for word in free)] == []


def test_golden_vectors_that_lie_are_refused_even_with_right_checksums(start, whole) -> None:
    """Whoever can rewrite an unsigned manifest can list any file; still no pickle is loaded and nothing blows up."""
    files = {path: data for path, data in whole.items() if path != "signature.json"}
    mutations = list(golden_mutations(files))
    assert len(mutations) >= 60
    survivors = []
    for name, path, data in mutations:
        try:
            assert "golden" in start(relisted({**files, path: data}, path), None), name
        except ModelCodeRanError:
            survivors.append(name)
    assert survivors == [], survivors


def test_what_an_unsigned_bundle_cannot_notice(start, whole) -> None:
    """The known limit: who rewrites the manifest as well replaces anything. The signature is what stops them."""
    files = {path: data for path, data in whole.items() if path != "signature.json"}
    forged = relisted({**files, "model_fp32.onnx": b"another model"}, "model_fp32.onnx")
    with pytest.raises(ModelCodeRanError):
        start(forged, None)
    assert "not signed (no signature.json)" in start(forged, TRUST)
    old_signature = {**forged, "signature.json": whole["signature.json"]}
    assert "altered after signing" in start(old_signature, TRUST)
    assert "altered after signing" in start(old_signature, None)  # a signature that does not fit is reported, too
    with pytest.raises(ModelCodeRanError):
        start({**files, "note.txt": b"left alone"}, None)


def test_signatures_of_others_are_refused(start, whole, module_bundle, tmp_path_factory) -> None:
    other = tmp_path_factory.mktemp("other") / "bundle"
    shutil.copytree(module_bundle, other)
    manifest = dataclasses.replace(read_manifest(other), name="other-model", version=2)
    write_manifest(manifest, other)
    sign_folder(other, KEY)
    foreign = read_files(other)
    assert "belongs to another manifest.json" in start({**whole, "signature.json": foreign["signature.json"]}, TRUST)
    assert "belongs to another manifest.json" in start({**whole, "manifest.json": foreign["manifest.json"]}, TRUST)
    assert "'other-model' is signed by a key that is trusted for other models only" in start(
        foreign, trusting(KEY, "tiny-*")
    )
    sign_folder(other, STRANGER)
    assert "signed by unknown key" in start(read_files(other), TRUST)


@pytest.mark.parametrize("trust", [TRUST, None], ids=["signed", "unsigned"])
def test_every_changed_archive_is_refused_and_leaves_nothing_behind(whole, tmp_path, trust) -> None:
    files = whole if trust else {path: data for path, data in whole.items() if path != "signature.json"}
    data = pack_bundle(open_bundle(write_files(files, tmp_path / "bundle")), tmp_path / "bundle.tar").read_bytes()
    room = tmp_path / "room"
    room.mkdir()
    archive = tmp_path / "mutated.tar"
    mutations = list(archive_mutations(data, files))
    assert len(mutations) >= 200
    reasons: dict[str, str] = {}
    for name, changed in mutations:
        archive.write_bytes(changed)
        with pytest.raises(BundleError) as caught:
            unpack_bundle(archive, room / "unpacked", trust=trust)
        reasons[name] = str(caught.value)
        assert str(archive) in reasons[name]
        assert list(room.iterdir()) == [], name
    for name, words in EXPECTED_REASONS.items():
        assert words in reasons[name], name
    archive.write_bytes(data)
    assert read_files(unpack_bundle(archive, room / "unpacked", trust=trust).folder) == files


def relisted(files: Files, path: str) -> Files:
    """The bundle with the entry of one file brought up to date, as a forger would."""
    manifest = json.loads(files["manifest.json"])
    for entry in manifest["files"]:
        if entry["path"] == path:
            entry.update(sha256=hashlib.sha256(files[path]).hexdigest(), size_bytes=len(files[path]))
    return {**files, "manifest.json": json.dumps(manifest).encode("utf-8")}
