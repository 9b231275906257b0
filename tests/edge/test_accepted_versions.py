"""When a device notes that a version runs here: once, after the model was proved and loaded."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil

import pytest

import cvforge_edge.versions as versions
from cvforge_edge.camera_options import parse_options
from cvforge_edge.camera_run import CameraRun
from cvforge_edge.checked_bundle import open_bundle_to_start, self_test
from cvforge_edge.manifest import read_manifest, write_manifest
from cvforge_edge.output_options import plan_outputs
from edge.signing import private_key, public_pem, sign_folder
from edge.test_run_camera import run_camera


@pytest.fixture
def trusted(make_bundle, tmp_path):
    """A signed bundle, and the options that ask for its self-test."""
    bundle = make_bundle("detector", formats=("onnx",))
    sign_folder(bundle, private_key(1))
    (tmp_path / "maker.pub").write_text(public_pem(private_key(1)))
    places = (str(tmp_path / "maker.pub"), "--accepted", str(tmp_path / "accepted.json"))
    return bundle, ("--bundle", str(bundle), "--trust", *places, "--self-test")


def test_a_run_that_does_not_come_about_accepts_nothing(trusted, tmp_path):
    _, arguments = trusted
    ended = run_camera(*arguments, "--source", "missing.mp4", cwd=tmp_path)
    assert ended.returncode == 8 and "self-test passed" in ended.stderr
    assert not (tmp_path / "accepted.json").exists()


def test_a_self_test_alone_accepts_what_passes_it(trusted, tmp_path):
    _, arguments = trusted
    ended = run_camera(*arguments, cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert json.loads((tmp_path / "accepted.json").read_text())["tiny-detector"]["version"] == 1


def test_start_and_reload_accept_once_each(trusted, tmp_path, monkeypatch):
    bundle, arguments = trusted
    shutil.copy(bundle / "golden" / "00.png", tmp_path / "picture.png")
    accepted, real = [], versions.accept_release

    def counted(path, name, release):
        accepted.append((name, release.version))
        real(path, name, release)

    monkeypatch.setattr(versions, "accept_release", counted)
    options = parse_options([*arguments, "--source", str(tmp_path / "picture.png"), "--quiet"])
    options.outputs = plan_outputs(options)
    opened = open_bundle_to_start(options)
    backend = self_test(options, opened)
    assert accepted == []
    with contextlib.ExitStack() as resources:
        run = CameraRun(options, opened, backend=backend, resources=resources)
        assert accepted == [("tiny-detector", 1)]
        write_manifest(dataclasses.replace(read_manifest(bundle), version=2), bundle)
        sign_folder(bundle, private_key(1))
        for predictor in run.load_again():
            predictor.close()
    assert accepted == [("tiny-detector", 1), ("tiny-detector", 2)]
