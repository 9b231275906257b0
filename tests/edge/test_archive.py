"""A bundle as one file: the same bytes each time, readable by other programs, unpacked whole or not at all."""

from __future__ import annotations

import io
import os
import shutil
import tarfile
from collections import namedtuple
from pathlib import Path

import pytest

from cvforge_edge.archive import pack_bundle, unpack_bundle
from cvforge_edge.bundle import open_bundle
from cvforge_edge.errors import BundleError, StorageError, TakenError
from cvforge_edge.tar_format import tar_header
from edge.mutations import read_files
from edge.signing import private_key, sign_folder, trusting

KEY = private_key(1)


@pytest.fixture
def folder(make_bundle) -> Path:
    made = make_bundle()
    sign_folder(made, KEY)
    return made


def test_the_same_bundle_gives_the_same_bytes_whatever_its_files_look_like(folder, tmp_path) -> None:
    first = pack_bundle(open_bundle(folder), tmp_path / "a.tar").read_bytes()
    copy = tmp_path / "copied" / "elsewhere"
    shutil.copytree(folder, copy)
    for number, path in enumerate(copy.rglob("*")):
        path.chmod(0o700)
        os.utime(path, (number, number))
    (copy / "note.txt").write_text("not listed, so not packed")
    assert pack_bundle(open_bundle(copy), tmp_path / "b.tar").read_bytes() == first


def test_tarfile_reads_what_was_packed(folder, tmp_path) -> None:
    data = pack_bundle(open_bundle(folder), tmp_path / "a.tar").read_bytes()
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
        members = archive.getmembers()
        found = {member.name: archive.extractfile(member).read() for member in members}
    assert found == read_files(folder)
    assert list(found)[:2] == ["manifest.json", "signature.json"]
    assert list(found)[2:] == sorted(list(found)[2:])
    assert {(m.type, m.mode, m.uid, m.gid, m.mtime, m.uname) for m in members} == {(b"0", 0o644, 0, 0, 0, "")}


@pytest.mark.parametrize("path", ["a", "a" * 100, f"{'d' * 120}/{'n' * 90}", f"{'d' * 155}/{'n' * 100}", "ä/ö" * 20])
def test_a_header_means_the_same_to_tarfile(path: str) -> None:
    header = tar_header(path, 12345)
    member = tarfile.TarInfo.frombuf(header, "utf-8", "strict")
    assert (member.name, member.size, len(header)) == (path, 12345, 512)


@pytest.mark.parametrize(("path", "size"), [("n" * 101, 1), (f"{'d' * 156}/n" + "n" * 100, 1), ("a", 8**11), ("a", -1)])
def test_what_does_not_fit_into_a_header_is_refused(path: str, size: int) -> None:
    with pytest.raises(ValueError, match="archive"):
        tar_header(path, size)


def test_a_bundle_comes_back_whole_and_knows_its_signer(folder, tmp_path) -> None:
    archive = pack_bundle(open_bundle(folder), tmp_path / "a.tar")
    bundle = unpack_bundle(archive, tmp_path / "new" / "bundle", trust=trusting(KEY))
    assert read_files(bundle.folder) == read_files(folder)
    assert [key.name for key in bundle.signers] == ["maker"]
    assert bundle.manifest == open_bundle(bundle.folder, trust=trusting(KEY)).manifest


def test_nothing_that_exists_is_replaced(folder, tmp_path) -> None:
    archive = pack_bundle(open_bundle(folder), tmp_path / "a.tar")
    with pytest.raises(TakenError, match=r"a\.tar: exists already"):
        pack_bundle(open_bundle(folder), archive)
    before = read_files(folder)
    for taken in (folder, archive):
        with pytest.raises(TakenError, match="exists already") as caught:
            unpack_bundle(archive, taken)
        assert caught.value.exit_code == 6
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    with pytest.raises(TakenError):
        unpack_bundle(archive, tmp_path / "dangling")
    assert read_files(folder) == before


def test_a_full_disk_is_noticed_before_anything_is_written(folder, tmp_path, monkeypatch) -> None:
    archive = pack_bundle(open_bundle(folder), tmp_path / "a.tar")
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9 - 1000, 1000))
    (tmp_path / "room").mkdir()
    with pytest.raises(StorageError, match="1000 bytes free, the bundle needs"):
        unpack_bundle(archive, tmp_path / "room" / "bundle")
    assert list((tmp_path / "room").iterdir()) == []


def test_a_file_that_changes_while_it_is_packed_leaves_no_archive(folder, tmp_path) -> None:
    bundle = open_bundle(folder)
    data = (folder / "model_fp32.onnx").read_bytes()
    (folder / "model_fp32.onnx").write_bytes(data[:-1] + b"?")
    with pytest.raises(BundleError, match=r"model_fp32\.onnx: changed while the archive was written"):
        pack_bundle(bundle, tmp_path / "out" / "a.tar")
    assert list((tmp_path / "out").iterdir()) == []


def test_the_draft_of_a_killed_process_is_cleared_away(folder, tmp_path) -> None:
    archive = pack_bundle(open_bundle(folder), tmp_path / "a.tar")
    room = tmp_path / "room"
    (room / ".bundle.draft-999999999").mkdir(parents=True)
    unpack_bundle(archive, room / "bundle")
    assert [path.name for path in room.iterdir()] == ["bundle"]


def test_an_archive_that_is_missing_is_named(tmp_path) -> None:
    with pytest.raises(BundleError, match=r"missing\.tar: no such file"):
        unpack_bundle(tmp_path / "missing.tar", tmp_path / "bundle")
