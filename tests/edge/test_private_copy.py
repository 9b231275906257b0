"""A model is what was checked, whatever happens to its file before, while and after it is loaded."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import cvforge_edge.predictor as predictor_module
import cvforge_edge.private_copy as private_copy_module
from cvforge_edge.bundle import open_bundle
from cvforge_edge.errors import BundleError, StorageError
from cvforge_edge.predictor import Predictor
from cvforge_edge.private_copy import private_copy
from cvforge_edge.selftest import run_self_test
from edge.conftest import two_squares
from edge.mjpeg import MjpegServer
from edge.test_run_camera import command
from edge.web_client import wait_until

DATA = bytes(range(256)) * 8192  # two blocks


@pytest.fixture(params=["in memory", "refused in memory", "as a temporary file", "without /proc"])
def kind(request, monkeypatch, tmp_path):
    if request.param == "in memory":
        if not hasattr(os, "memfd_create"):
            pytest.skip("this system has no files in memory")
        return request.param
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    if request.param == "refused in memory":
        monkeypatch.setattr(os, "memfd_create", refuse, raising=False)
    else:
        monkeypatch.delattr(os, "memfd_create", raising=False)
    if request.param == "without /proc":
        monkeypatch.setattr(private_copy_module, "DESCRIPTORS", tmp_path / "missing")
    return request.param


def refuse(*_: object) -> int:
    """As a filter of system calls does."""
    raise OSError(errno.EPERM, os.strerror(errno.EPERM))


def sha256_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_copy_stays_what_was_checked_and_leaves_nothing_behind(kind, tmp_path):
    file = tmp_path / "model"
    file.write_bytes(DATA)
    descriptors = len(list(Path("/proc/self/fd").iterdir())) if sys.platform == "linux" else None
    with private_copy(file, sha256=sha256_of(DATA)) as path:
        file.write_bytes(b"other")
        assert path.read_bytes() == DATA
    assert not path.exists() or path.parent == Path("/proc/self/fd")
    assert [entry.name for entry in tmp_path.iterdir()] == ["model"]
    assert descriptors is None or len(list(Path("/proc/self/fd").iterdir())) == descriptors


def test_copy_in_memory_can_be_written_by_nobody(tmp_path):
    if not hasattr(os, "memfd_create"):
        pytest.skip("this system has no files in memory")
    file = tmp_path / "model"
    file.write_bytes(DATA)
    with private_copy(file, sha256=sha256_of(DATA)) as path:
        with pytest.raises(PermissionError), path.open("r+b", buffering=0) as writable:
            writable.write(b"other")
        with pytest.raises(PermissionError):
            os.truncate(path, 0)
        assert path.read_bytes() == DATA


@pytest.mark.parametrize("found", [b"", DATA[:-1], b"x" + DATA[1:], DATA + b"x"])
def test_other_bytes_than_those_that_were_checked_are_refused(kind, tmp_path, found):
    file = tmp_path / "model"
    file.write_bytes(found)
    with (
        pytest.raises(BundleError, match=f"altered; SHA-256 is {sha256_of(found)}.*rename") as caught,
        private_copy(file, sha256=sha256_of(DATA)),
    ):
        raise AssertionError("nobody may use it")
    assert caught.value.exit_code == 7
    assert [entry.name for entry in tmp_path.iterdir()] == ["model"]


def test_file_that_is_gone_or_a_link_by_now_is_refused(kind, tmp_path):
    file = tmp_path / "model"
    with (
        pytest.raises(BundleError, match="cannot be read .*copy the bundle again"),
        private_copy(file, sha256=sha256_of(DATA)),
    ):
        pass
    (tmp_path / "other").write_bytes(DATA)
    file.symlink_to("other")
    with (
        pytest.raises(BundleError, match="cannot be read .*copy the bundle again"),
        private_copy(file, sha256=sha256_of(DATA)),
    ):
        pass


def test_a_system_that_takes_no_copy_anywhere_is_told_with_the_way_out(tmp_path, monkeypatch):
    file = tmp_path / "model"
    file.write_bytes(DATA)
    monkeypatch.setattr(os, "memfd_create", refuse, raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
    with (
        pytest.raises(
            StorageError, match=r"model: cannot be copied .*\(No such file or directory\); set TMPDIR"
        ) as caught,
        private_copy(file, sha256=sha256_of(DATA)),
    ):
        raise AssertionError("there is none")
    assert caught.value.exit_code == 10


def test_a_full_memory_or_disk_is_not_taken_for_a_damaged_bundle(kind, tmp_path, monkeypatch):
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    file = tmp_path / "model"
    file.write_bytes(DATA)
    monkeypatch.setattr(private_copy_module.os, "write", full)
    where = "memory" if kind == "in memory" else str(tmp_path)
    with (
        pytest.raises(
            StorageError, match=rf"no room for a copy in {where} \(No space left on device\); free"
        ) as caught,
        private_copy(file, sha256=sha256_of(DATA)),
    ):
        raise AssertionError("there is none")
    assert caught.value.exit_code == 10
    assert [entry.name for entry in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize("form", ["onnx", "tflite"])
def test_bytes_changed_between_check_and_opening_never_reach_a_runtime(make_bundle, monkeypatch, form):
    bundle = open_bundle(make_bundle("detector", formats=(form,)))
    path = bundle.path_of(bundle.manifest.models[0])
    path.write_bytes(path.read_bytes() + b"\0")  # both runtimes would load it
    for name in ("cvforge_edge.predictor", "cvforge_edge.selftest"):
        monkeypatch.setattr(f"{name}.open_backend", lambda *_, **__: pytest.fail("a runtime got altered bytes"))
    with pytest.raises(BundleError, match="altered"):
        Predictor.of_bundle(bundle)
    with pytest.raises(BundleError, match="altered"):
        run_self_test(bundle)


@pytest.mark.parametrize("form", ["onnx", "tflite"])
def test_bytes_changed_while_the_runtime_loads_change_nothing(make_bundle, monkeypatch, colours_bgr, form):
    bundle = open_bundle(make_bundle("detector", formats=(form,)))
    expected = Predictor.of_bundle(bundle).predict(colours_bgr)
    real = predictor_module.open_backend

    def overwrite_first(*arguments, **options):
        bundle.path_of(bundle.manifest.models[0]).write_bytes(b"not a model")
        return real(*arguments, **options)

    monkeypatch.setattr(predictor_module, "open_backend", overwrite_first)
    found = Predictor.of_bundle(bundle).predict(colours_bgr)
    np.testing.assert_array_equal(found.boxes_xyxy, expected.boxes_xyxy)
    np.testing.assert_array_equal(found.scores, expected.scores)
    assert len(found.scores) == 2


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says what is mapped")
@pytest.mark.parametrize("backend", ["litert", "litert-builtin", "onnxruntime"])
def test_no_file_of_the_bundle_is_mapped_where_a_writer_could_end_the_process(make_bundle, backend):
    folder = make_bundle("detector")
    with Predictor.of_bundle(open_bundle(folder), backend=backend):
        assert str(folder) not in Path("/proc/self/maps").read_text()


@pytest.mark.parametrize("backend", ["litert", "litert-builtin", "onnxruntime"])
def test_a_run_goes_on_as_before_when_its_model_file_is_overwritten_in_place(make_bundle, tmp_path, backend):
    bundle = make_bundle("detector")
    server = MjpegServer(image_bgr=two_squares())
    source = f"http://127.0.0.1:{server.port}/stream"
    run = command(
        *("--bundle", bundle, "--backend", backend, "--source", source, "--json", "out.jsonl", "--sessions", "2"),
        "--self-test",  # which looks into all files before the run, and not in its first second
    )
    out = tmp_path / "out.jsonl"
    process = subprocess.Popen(run, cwd=tmp_path, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: out.exists() and out.read_bytes().count(b"\n") > 3)
        for file in bundle.glob("model_*"):
            file.write_bytes(b"")  # as cp does first: pages of the file that are mapped are gone
        before = out.read_bytes().count(b"\n")
        wait_until(lambda: out.read_bytes().count(b"\n") > before + 20 or process.poll() is not None)
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
        server.close()
    records = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["label"] for row in records[0]["detections"]] == ["red", "blue"]
    assert all(record["detections"] == records[0]["detections"] for record in records)
