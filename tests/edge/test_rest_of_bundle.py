"""Files that a run does not use: an altered one ends it, none delays it, and a new bundle is no damaged one."""

from __future__ import annotations

import json
import shutil
import threading
import time
from pathlib import Path

import cv2
import pytest

import cvforge_edge.rest_of_bundle as rest_of_bundle
from cvforge_edge.bundle import open_bundle, open_bundle_to_run
from cvforge_edge.errors import BundleError
from cvforge_edge.rest_of_bundle import RestOfBundle
from edge.conftest import BundleMaker, two_squares
from edge.test_run_camera import run_camera


def alter(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def test_a_bundle_that_is_opened_to_run_is_not_looked_into(make_bundle: BundleMaker) -> None:
    folder = make_bundle()
    assert open_bundle(folder).whole
    alter(folder / "golden" / "00.npz")
    bundle = open_bundle_to_run(folder)
    assert not bundle.whole
    (folder / "golden" / "00.npz").write_bytes(b"short")
    with pytest.raises(BundleError, match=r"golden/00\.npz: 5 bytes, but the manifest says"):
        open_bundle_to_run(folder)


def test_every_altered_file_is_named_and_the_run_is_told(make_bundle: BundleMaker) -> None:
    folder = make_bundle()
    bundle, told = open_bundle_to_run(folder), threading.Event()
    alter(folder / "golden" / "00.npz")
    alter(folder / "model_fp32.onnx")
    with RestOfBundle(bundle, on_problem=told.set) as rest:
        with pytest.raises(BundleError) as caught:
            rest.finish(wait=True)
        assert told.is_set()
    assert "golden/00.npz: altered" in str(caught.value) and "model_fp32.onnx: altered" in str(caught.value)


def test_a_camera_run_is_told_without_asking(make_bundle: BundleMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rest_of_bundle, "FIRST_S", 0.0)
    folder = make_bundle()
    bundle, told = open_bundle_to_run(folder), threading.Event()
    alter(folder / "golden" / "00.npz")
    with RestOfBundle(bundle, on_problem=told.set) as rest:
        assert told.wait(30)
        with pytest.raises(BundleError, match="altered"):
            rest.finish(wait=False)


def test_whoever_stops_does_not_wait_for_checksums(make_bundle: BundleMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    entered = threading.Event()

    def endless(*_: object, given_up) -> list[str]:
        entered.set()
        while not given_up():
            time.sleep(0.01)
        return []

    monkeypatch.setattr(rest_of_bundle, "FIRST_S", 0.0)
    monkeypatch.setattr(rest_of_bundle, "content_problems", endless)
    with RestOfBundle(open_bundle_to_run(make_bundle()), on_problem=pytest.fail) as rest:
        assert entered.wait(30)
        rest.finish(wait=False)


def test_a_bundle_that_was_replaced_meanwhile_is_not_a_damaged_one(make_bundle: BundleMaker) -> None:
    folder = make_bundle()
    bundle = open_bundle_to_run(folder)
    alter(folder / "golden" / "00.npz")
    (folder / "manifest.json").write_bytes((folder / "manifest.json").read_bytes() + b"\n")
    with RestOfBundle(bundle, on_problem=pytest.fail) as rest:
        rest.finish(wait=True)
        shutil.rmtree(folder)
    with RestOfBundle(bundle, on_problem=pytest.fail) as rest:
        rest.finish(wait=True)


def test_what_was_looked_into_before_is_left_alone(make_bundle: BundleMaker) -> None:
    folder = make_bundle()
    bundle = open_bundle(folder)
    alter(folder / "golden" / "00.npz")
    with RestOfBundle(bundle, on_problem=pytest.fail) as rest:
        rest.finish(wait=True)


@pytest.mark.parametrize(("file", "results"), [("golden/00.npz", 1), ("model_fp32.tflite", 0)])
def test_a_run_ends_with_code_7_before_an_altered_model_or_after_other_files(make_bundle, tmp_path, file, results):
    folder = make_bundle()
    cv2.imwrite(str(tmp_path / "image.png"), two_squares())
    alter(folder / file)
    ended = run_camera("--bundle", folder, "--source", "image.png", "--json", "-", "--backend", "litert", cwd=tmp_path)
    assert ended.returncode == 7, ended.stderr
    assert f"{Path(file).name}: altered" in ended.stderr
    assert len([json.loads(line) for line in ended.stdout.splitlines()]) == results


def test_a_self_test_looks_into_all_of_a_bundle_first(make_bundle, tmp_path):
    folder = make_bundle()
    cv2.imwrite(str(tmp_path / "image.png"), two_squares())
    alter(folder / "model_fp32.onnx")
    ended = run_camera("--bundle", folder, "--source", "image.png", "--json", "-", "--self-test", cwd=tmp_path)
    assert ended.returncode == 7 and ended.stdout == ""
