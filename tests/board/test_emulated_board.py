"""Bundles of ours on emulated Raspberry Pis: the device folder, copied there, tests itself and answers as this machine does."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from arm_board import RASPBERRY_PI_4, RASPBERRY_PI_5, Board
from board.answers import differences, golden_of, golden_photos, read_lines, run_here
from board.conftest import PRECISIONS
from edge.signing import private_key, public_pem, sign_folder

pytestmark = [pytest.mark.network, pytest.mark.slow]
FRAMES = 6


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", ["shapes", "cells"])
def test_a_raspberry_pi_passes_the_self_test_and_answers_golden_images_as_this_machine_does(
    name: str, precision: str, board: Board, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    bundle = request.getfixturevalue(name)
    golden = golden_of(bundle)
    arguments = ("--bundle", bundle, "--precision", precision, "--source", golden_photos(bundle, tmp_path / "photos"))
    here = run_here(*arguments, "--json", tmp_path / "here.jsonl", cwd=tmp_path)
    assert here.returncode == 0, here.stderr
    done = board.run("run_camera.py", *arguments, "--self-test", "--json", tmp_path / "there.jsonl", cpu=RASPBERRY_PI_4)
    assert done.returncode == 0, done.stderr
    assert f"self-test passed: model_{precision}.tflite on litert, {len(golden.items)} golden images" in done.stderr
    assert "WARNING" not in done.stderr
    tolerance = golden.tolerances[precision]
    assert differences(tmp_path / "there.jsonl", tmp_path / "here.jsonl", bundle=bundle, tolerance=tolerance) == []


def test_a_video_runs_on_a_raspberry_pi_5(cells: Path, board: Board, tmp_path: Path) -> None:
    frame = np.full((128, 192, 3), 40, np.uint8)
    frame[32:64, 32:64] = (0, 0, 250)  # a whole cell of the tiny detector's grid, four times as large
    writer = cv2.VideoWriter(str(tmp_path / "clip.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 10.0, (192, 128))
    for _ in range(FRAMES):
        writer.write(frame)
    writer.release()
    arguments = ("--bundle", cells, "--precision", "int8", "--source", tmp_path / "clip.mp4")
    results = ("--save", tmp_path / "out.mp4", "--json", tmp_path / "there.jsonl")
    done = board.run("run_camera.py", *arguments, "--self-test", *results, cpu=RASPBERRY_PI_5)
    assert done.returncode == 0, done.stderr
    assert "self-test passed: model_int8.tflite on litert, " in done.stderr
    records = read_lines(tmp_path / "there.jsonl")
    assert len(records) == FRAMES
    for record in records:
        (row,) = record["detections"]
        assert row["label"] == "red"
        np.testing.assert_allclose(row["box_xyxy"], [32, 32, 64, 64], atol=1)  # the network adds up to 0.2 cells
    capture = cv2.VideoCapture(str(tmp_path / "out.mp4"))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == FRAMES
    capture.release()


def test_every_file_is_measured_on_the_board_in_processes_of_its_own(
    shapes: Path, board: Board, tmp_path: Path
) -> None:
    once = ("--threads", 1, "--rounds", 1, "--time-limit", 300)
    done = board.run("benchmark.py", "--bundle", shapes, *once, "--json", tmp_path / "costs.json")
    assert done.returncode == 0, done.stderr
    costs = json.loads((tmp_path / "costs.json").read_text())
    assert costs["machine"]["system"] == "Linux aarch64"
    assert costs["machine"]["packages"]["ai-edge-litert"] == "2.1.6"
    runs = {file: cost["latencies"][0]["runs"] for file, cost in costs["files"].items()}
    assert sorted(runs) == [f"model_{precision}.tflite" for precision in sorted(PRECISIONS)]
    assert min(runs.values()) >= 3


@pytest.fixture
def signed(cells: Path, tmp_path: Path) -> Path:
    """A signed copy, and the key beside it that a device trusts."""
    bundle = tmp_path / "signed"
    shutil.copytree(cells, bundle)
    sign_folder(bundle, private_key(1))
    (tmp_path / "maker.pub").write_text(public_pem(private_key(1)))
    return bundle


def flip_a_bit_of_the_model(bundle: Path) -> None:
    content = bytearray((bundle / "model_int8.tflite").read_bytes())
    content[len(content) // 2] ^= 1
    (bundle / "model_int8.tflite").write_bytes(content)


def raise_the_version(bundle: Path) -> None:
    path = bundle / "manifest.json"
    before = path.read_text()
    path.write_text(before.replace('"version": 1\n}', '"version": 2\n}'))
    assert path.read_text() != before


def sign_with_another_key(bundle: Path) -> None:
    sign_folder(bundle, private_key(2))


def test_a_bundle_of_a_trusted_key_is_accepted_on_the_board(signed: Path, board: Board, tmp_path: Path) -> None:
    trust = ("--trust", tmp_path / "maker.pub", "--accepted", tmp_path / "accepted.json")
    done = board.run("run_camera.py", "--bundle", signed, *trust, "--precision", "int8", "--self-test")
    assert done.returncode == 0, done.stderr
    assert "signed by maker (fd110d301d2f077d)" in done.stderr
    accepted = json.loads((tmp_path / "accepted.json").read_text())
    assert {name: release["version"] for name, release in accepted.items()} == {"tiny-detection": 1}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (flip_a_bit_of_the_model, "model_int8.tflite: altered"),
        (raise_the_version, "belongs to another manifest.json, or this one was altered after signing"),
        (sign_with_another_key, "signed by unknown key"),
    ],
)
def test_an_altered_or_foreign_bundle_is_refused_on_the_board_in_the_words_of_this_machine(
    change, words: str, signed: Path, board: Board, tmp_path: Path
) -> None:
    change(signed)
    arguments = ("--bundle", signed, "--trust", tmp_path / "maker.pub", "--self-test")
    accepted = tmp_path / "accepted.json"
    done = board.run("run_camera.py", *arguments, "--accepted", accepted)
    here = run_here(*arguments, "--accepted", accepted, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (here.returncode, here.stderr)
    assert done.returncode == 7
    assert words in done.stderr
    assert not accepted.exists()


@pytest.mark.parametrize("precision", PRECISIONS)
def test_tflite_runtime_with_numpy_1_passes_the_self_test_on_the_same_board(
    precision: str, shapes: Path, numpy1_board: Board
) -> None:
    done = numpy1_board.run("run_camera.py", "--bundle", shapes, "--precision", precision, "--self-test")
    assert done.returncode == 0, done.stderr
    assert f"self-test passed: model_{precision}.tflite on tflite-runtime, " in done.stderr
    versions = numpy1_board.run("-c", "import cv2, numpy; print(numpy.__version__, cv2.__version__)")
    assert versions.stdout.split() == ["1.26.4", "4.11.0"]
