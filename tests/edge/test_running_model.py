"""The model that runs stays what was checked: spares come from it whatever lies in its folder, until a reload takes over."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import cvforge_edge.running_model as running_model
from cvforge_edge.bundle import open_bundle
from cvforge_edge.camera_options import parse_options
from cvforge_edge.camera_run import CameraRun
from cvforge_edge.errors import BundleError, EdgeError
from cvforge_edge.manifest import read_manifest, write_manifest
from cvforge_edge.output_options import plan_outputs
from cvforge_edge.running_model import RunningModel
from edge.conftest import two_squares
from edge.fragile_model import BRIGHT, DARK, write_fragile_bundle
from edge.mjpeg import MjpegServer
from edge.test_run_camera import command
from edge.test_supervised_run import WAIT_S, end, text_of, wait_for

DESCRIPTORS = Path("/proc/self/fd")
RELOADS = 20
COPY = "memfd:cvforge-model"
needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux says what is open")


@contextlib.contextmanager
def opened(folder: Path, *options: str):
    """A run of a bundle over its golden picture that is about to begin."""
    source = folder.parent / "picture.png"
    shutil.copy(folder / "golden" / "00.png", source)
    arguments = parse_options(["--bundle", str(folder), "--source", str(source), "--quiet", *options])
    arguments.outputs = plan_outputs(arguments)
    with contextlib.ExitStack() as resources:
        yield CameraRun(arguments, open_bundle(folder), backend=None, resources=resources)


def release(folder: Path, version: int) -> None:
    write_manifest(dataclasses.replace(read_manifest(folder), version=version), folder)


def spare_of(run: CameraRun) -> tuple[int, int]:
    """The version of a spare model, and how many squares it finds in the picture that has two."""
    spare = run.spare()
    found = len(spare.predict(two_squares()).scores)
    spare.close()
    return spare.manifest.version, found


def open_files() -> list[str]:
    """The files that this process has open; libraries have pipes and the like of their own."""
    found = []
    for entry in DESCRIPTORS.iterdir():
        with contextlib.suppress(FileNotFoundError):  # the descriptor of this very listing
            found.append(str(entry.readlink()))
    return sorted(file for file in found if file.startswith("/"))


@pytest.mark.parametrize("form", ["onnx", "tflite"])
def test_a_spare_is_the_model_that_runs_whatever_lies_in_its_folder(make_bundle, form):
    folder = make_bundle("detector", formats=(form,))
    with opened(folder) as run:
        release(folder, 2)
        assert spare_of(run) == (1, 2)
        (folder / f"model_fp32.{form}").write_bytes(b"altered")
        with pytest.raises(BundleError, match=rf"model_fp32\.{form}"):
            run.load_again()
        assert spare_of(run) == (1, 2)
        shutil.rmtree(folder)
        with pytest.raises(EdgeError):
            run.load_again()
        assert spare_of(run) == (1, 2)


def test_after_a_reload_a_spare_is_the_new_model(make_bundle):
    folder = make_bundle("detector", formats=("onnx",))
    with opened(folder) as run:
        release(folder, 2)
        for predictor in run.load_again():
            predictor.close()
        shutil.rmtree(folder)
        assert spare_of(run) == (2, 2)


@needs_linux
@pytest.mark.parametrize(("form", "copies"), [("onnx", 1), ("tflite", 2)])  # LiteRT keeps the file open that it maps
def test_reloads_leave_no_descriptor_and_one_copy_behind(make_bundle, form, copies):
    folder = make_bundle("detector", formats=(form,))
    with opened(folder) as run:
        before = open_files()
        assert sum(COPY in file for file in before) == copies
        for version in range(2, 2 + RELOADS):
            release(folder, version)
            for predictor in run.load_again():
                predictor.close()
            assert spare_of(run) == (version, 2)
        (folder / f"model_fp32.{form}").write_bytes(b"altered")
        for _ in range(RELOADS):
            with pytest.raises(BundleError):
                run.load_again()
        assert open_files() == before
    assert not any(COPY in file for file in open_files())


@needs_linux
def test_a_reload_takes_nothing_away_from_a_spare_that_is_loading_and_does_not_wait_for_it(make_bundle, monkeypatch):
    folder = make_bundle("detector", formats=("onnx",))
    loading, go, real = threading.Event(), threading.Event(), running_model.open_backend

    def slow(*arguments, **options):
        if threading.current_thread().name == "spare":
            loading.set()
            assert go.wait(WAIT_S)
        return real(*arguments, **options)

    with opened(folder) as run:
        monkeypatch.setattr(running_model, "open_backend", slow)
        found = []
        thread = threading.Thread(target=lambda: found.append(spare_of(run)), name="spare")
        thread.start()
        assert loading.wait(WAIT_S)
        release(folder, 2)
        for predictor in run.load_again():
            predictor.close()
        assert sum(COPY in file for file in open_files()) == 2
        go.set()
        thread.join(WAIT_S)
        assert found == [(1, 2)]
        assert sum(COPY in file for file in open_files()) == 1


def test_a_copy_is_closed_once(make_bundle):
    model = RunningModel(open_bundle(make_bundle("detector", formats=("onnx",))), backend=None, precision=None)
    with model.kept():
        model.close()
        model.close()
        model.open(threads=1).close()
    with pytest.raises(EdgeError):
        model.open(threads=1)


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="this system has no SIGHUP")
def test_after_a_refused_reload_a_session_that_fails_is_replaced_as_before(tmp_path):
    server = MjpegServer(image_bgr=DARK)
    bundle, lines, log = write_fragile_bundle(tmp_path / "bundle"), tmp_path / "out.jsonl", tmp_path / "log.txt"
    camera = f"http://127.0.0.1:{server.port}/stream"
    arguments = ("--bundle", bundle, "--source", camera, "--json", "out.jsonl", "--log", "log.txt")
    with subprocess.Popen(command(*arguments), cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        wait_for(lambda: text_of(lines).count("\n") > 3, process)
        write_manifest(dataclasses.replace(read_manifest(bundle), version=2), bundle)  # that of another bundle
        (bundle / "model_fp32.onnx").write_bytes(b"half of a new one")
        process.send_signal(signal.SIGHUP)
        wait_for(lambda: "reload refused, the old model goes on" in text_of(log), process)
        server.image_bgr = BRIGHT
        wait_for(lambda: "inference failed" in text_of(log), process)
        server.image_bgr = DARK
        wait_for(lambda: "a new session takes over (1 of 3)" in text_of(log), process)
        seen = text_of(lines).count("\n")
        wait_for(lambda: text_of(lines).count("\n") > seen + 3, process)
        errors = end(process)
    server.close()
    assert process.returncode == 0, errors
