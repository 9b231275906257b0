"""A bundle opens only when every byte is the maker's."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from cvforge_edge.bundle import describe_file, file_sha256, open_bundle
from cvforge_edge.errors import BundleError
from cvforge_edge.manifest import BundleFile, read_manifest, write_manifest

BundleMaker = Callable[..., Path]


def refused(folder: Path) -> str:
    with pytest.raises(BundleError) as caught:
        open_bundle(folder)
    assert str(folder) in str(caught.value)
    return str(caught.value)


def test_a_whole_bundle_opens(make_bundle: BundleMaker) -> None:
    folder = make_bundle()
    bundle = open_bundle(folder)
    assert bundle.manifest == read_manifest(folder)
    assert [bundle.path_of(file).is_file() for file in bundle.manifest.files] == [True] * 5


def test_one_changed_byte_is_found_in_any_file(make_bundle: BundleMaker) -> None:
    folder = make_bundle()
    for file in open_bundle(folder).manifest.files:
        path = folder / file.path
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(bytes(data))
        message = refused(folder)
        assert f"{file.path}: altered; SHA-256 is {hashlib.sha256(data).hexdigest()}" in message
        assert message.count("altered") == 1
        data[len(data) // 2] ^= 1
        path.write_bytes(bytes(data))
    open_bundle(folder)


def test_every_damaged_file_is_named_at_once(make_bundle: BundleMaker) -> None:
    folder = make_bundle()
    (folder / "model_fp32.tflite").unlink()
    (folder / "golden" / "golden.json").write_bytes(b"{}")
    (folder / "golden" / "00.npz").unlink()
    (folder / "golden" / "00.npz").mkdir()
    message = refused(folder)
    assert "model_fp32.tflite: missing" in message
    assert "golden/golden.json: 2 bytes, but the manifest says" in message
    assert "golden/00.npz: is not a plain file" in message
    assert "copy the bundle again" in message


def test_links_inside_a_bundle_are_refused_and_a_link_to_it_is_fine(make_bundle: BundleMaker, tmp_path: Path) -> None:
    folder = make_bundle()
    (tmp_path / "current").symlink_to(folder, target_is_directory=True)
    open_bundle(tmp_path / "current")
    (folder / "golden").rename(tmp_path / "elsewhere")
    (folder / "golden").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (folder / "model_fp32.onnx").rename(tmp_path / "model.onnx")
    (folder / "model_fp32.onnx").symlink_to(tmp_path / "model.onnx")
    message = refused(folder)
    assert "golden/00.png: is or goes through a link" in message
    assert "model_fp32.onnx: is or goes through a link" in message


def test_a_file_that_the_manifest_does_not_list_is_left_alone(make_bundle: BundleMaker) -> None:
    folder = make_bundle()
    (folder / ".DS_Store").write_bytes(b"folder settings")
    open_bundle(folder)


def test_a_bundle_without_a_model_is_refused(make_bundle: BundleMaker) -> None:
    folder = make_bundle()
    manifest = read_manifest(folder)
    write_manifest(replace(manifest, files=tuple(f for f in manifest.files if isinstance(f, BundleFile))), folder)
    assert "no model is listed" in refused(folder)


def test_a_folder_that_is_no_bundle_is_refused(tmp_path: Path) -> None:
    assert "manifest.json: not found" in refused(tmp_path)
    assert BundleError.exit_code == 7


def test_a_file_larger_than_one_block_is_hashed_whole(tmp_path: Path) -> None:
    data = bytes(range(256)) * 9000  # 2.3 MB
    (tmp_path / "big.bin").write_bytes(data)
    assert file_sha256(tmp_path / "big.bin") == hashlib.sha256(data).hexdigest()
    assert describe_file(tmp_path, "big.bin") == BundleFile("big.bin", hashlib.sha256(data).hexdigest(), len(data))
