"""The command on the device: files it writes, what it says, and the code it ends with."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from cvforge_edge.bundle import describe_file
from cvforge_edge.manifest import ModelFile, read_manifest, write_manifest
from edge.mjpeg import MjpegServer
from edge.signing import private_key, public_pem, sign_folder

EDGE = Path(__file__).resolve().parents[2] / "deploy" / "edge"
STOP_WITHIN_S = 1.0


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-I", str(EDGE / "run_camera.py"), *map(str, arguments)]


def run_camera(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    # -I: neither the environment nor the current folder can lend it another cvforge_edge.
    return subprocess.run(command(*arguments), cwd=cwd, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """24 frames of 192 x 128 pixels: a red square that moves right by 32 pixels every eight frames, and a blue one."""
    writer = cv2.VideoWriter(str(tmp_path / "clip.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 12.0, (192, 128))
    for index in range(24):
        frame = np.zeros((128, 192, 3), np.uint8)
        left = 32 * (index // 8)
        frame[32:64, left : left + 32] = (0, 0, 255)
        frame[96:128, 160:192] = (255, 0, 0)
        writer.write(frame)
    writer.release()
    return tmp_path / "clip.mp4"


def count_frames(path: Path) -> int:
    capture = cv2.VideoCapture(str(path))
    count = 0
    while capture.read()[0]:
        count += 1
    capture.release()
    return count


@pytest.mark.parametrize("formats", [("onnx",), ("tflite",)])
def test_clip_gives_verified_boxes_as_video_and_json(make_bundle, clip, tmp_path, formats):
    bundle = make_bundle("detector", formats=formats)
    run = run_camera(
        "--bundle", bundle, "--source", clip, "--save", "out.mp4", "--json", "out.jsonl", "--self-test", cwd=tmp_path
    )
    assert run.returncode == 0, run.stderr
    assert "self-test passed" in run.stderr
    assert "24 frames in" in run.stderr
    assert "out.mp4: 24 frames, 192x128, 12 frames/s" in run.stderr
    assert re.findall(r"^  (\w+) +p50 +[\d.]+ ms   p95 +[\d.]+ ms   p99 +[\d.]+ ms$", run.stderr, re.MULTILINE) == [
        *("decode", "queue", "wait", "predict", "prepare", "network", "finish", "write", "age")
    ]
    assert run.stdout == ""
    assert count_frames(tmp_path / "out.mp4") == 24
    records = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [record["frame"] for record in records] == list(range(24))
    for index, record in enumerate(records):
        left = 32 * (index // 8)
        boxes = {row["label"]: row["box_xyxy"] for row in record["detections"]}
        assert boxes == {"red": [left, 32, left + 32, 64], "blue": [160, 96, 192, 128]}


@pytest.mark.parametrize(("model", "key"), [("classifier", "classes"), ("segmenter", "pixel_shares")])
def test_other_tasks_run_through_the_same_command(make_bundle, clip, tmp_path, model, key):
    bundle = make_bundle(model, formats=("onnx",))
    run = run_camera(
        "--bundle", bundle, "--source", clip, "--json", "-", "--save", "annotated/", "--max-frames", 2, cwd=tmp_path
    )
    assert run.returncode == 0, run.stderr
    records = [json.loads(line) for line in run.stdout.splitlines()]
    assert len(records) == 2
    assert key in records[0]
    assert sorted(path.name for path in (tmp_path / "annotated").iterdir()) == ["clip_000000.jpg", "clip_000001.jpg"]


def test_score_threshold_replaces_that_of_the_bundle(make_bundle, clip, tmp_path):
    bundle = make_bundle("detector", formats=("onnx",))
    run = run_camera(
        "--bundle", bundle, "--source", clip, "--json", "-", "--score-threshold", 1, "--quiet", cwd=tmp_path
    )
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""
    assert all(json.loads(line)["detections"] == [] for line in run.stdout.splitlines())


def test_self_test_alone_needs_no_source(make_bundle, tmp_path):
    run = run_camera("--bundle", make_bundle("classifier", formats=("onnx",)), "--self-test", cwd=tmp_path)
    assert (run.returncode, run.stdout) == (0, "")
    assert "self-test passed: model_fp32.onnx on onnxruntime, 1 golden images" in run.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--source", "missing.mp4"), 8, "missing.mp4: no such file, folder or camera"),
        (("--source", "97"), 8, "97: no connection"),
        (("--source", "broken.mp4"), 8, "that OpenCV cannot open as a video"),
        (("--source", "broken.jpg"), 4, "broken.jpg"),
        (("--source", "clip.mp4", "--json", "/dev/full"), 10, "No space left on device"),
        (("--source", "clip.mp4", "--json", "missing/a.jsonl"), 10, "cannot be created"),
        (("--source", "clip.mp4", "--save", "clip.mp4"), 2, "would replace the source"),
        (("--source", "clip.mp4", "--show"), 2, "--show: no display"),
        (("--source", "clip.mp4", "--backend", "litert"), 7, "no model for backend litert"),
        (("--source", "clip.mp4", "--backend", "nonsense"), 2, "litert"),
        (("--source", "clip.mp4", "--threads", "0"), 2, "accepted whole numbers of at least 1"),
        (("--source", "clip.mp4", "--score-threshold", "nan"), 2, "accepted numbers from 0 to 1"),
        (("--source", "clip.mp4", "--max-frame", "3"), 2, "unrecognized arguments"),
        ((), 2, "nothing to do: give --source"),
        (("--self-test", "--save", "out.mp4"), 2, "--save: needs a --source"),
    ],
)
def test_what_cannot_work_ends_with_a_message_and_its_code(
    make_bundle, clip, tmp_path, monkeypatch, arguments, code, words
):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    (tmp_path / "broken.jpg").write_bytes(b"no image")
    run = run_camera("--bundle", make_bundle("detector", formats=("onnx",)), *arguments, cwd=tmp_path)
    assert run.returncode == code, run.stderr
    assert words in run.stderr
    assert "Traceback" not in run.stderr


def test_damaged_bundle_is_refused_with_code_7(make_bundle, clip, tmp_path):
    bundle = make_bundle("detector", formats=("onnx",))
    data = bytearray((bundle / "model_fp32.onnx").read_bytes())
    data[100] ^= 1
    (bundle / "model_fp32.onnx").write_bytes(data)
    run = run_camera("--bundle", bundle, "--source", clip, cwd=tmp_path)
    assert run.returncode == 7
    assert "model_fp32.onnx" in run.stderr


def test_bundle_with_a_missing_file_is_refused_with_code_7(make_bundle, clip, tmp_path):
    bundle = make_bundle("detector", formats=("onnx",))
    (bundle / "model_fp32.onnx").unlink()
    run = run_camera("--bundle", bundle, "--source", clip, "--json", "out.jsonl", cwd=tmp_path)
    assert "model_fp32.onnx: missing" in run.stderr
    assert (run.returncode, "Traceback" in run.stderr) == (7, False)
    assert not (tmp_path / "out.jsonl").exists()


@pytest.mark.parametrize("source", ["0", "missing.mp4"])
def test_bundle_is_refused_before_the_source_is_opened(tmp_path, source):
    run = run_camera("--bundle", "NONE", "--source", source, cwd=tmp_path)
    assert run.stderr.startswith("error: NONE")
    assert (run.returncode, source in run.stderr) == (7, False)


def test_help_teaches_by_examples_and_lists_the_exit_codes(tmp_path):
    run = run_camera("--help", cwd=tmp_path)
    assert run.returncode == 0
    for words in ("--source rtsp://", "--self-test", "exit codes:", "130 stopped by a signal", "--reconnect-for"):
        assert words in run.stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_ends_a_run_within_a_second_with_complete_files(make_bundle, tmp_path, number):
    writer = cv2.VideoWriter(str(tmp_path / "long.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (640, 480))
    image = np.full((480, 640, 3), 90, np.uint8)
    for _ in range(300):
        writer.write(image)
    writer.release()
    bundle = make_bundle("segmenter", formats=("onnx",))
    arguments = ("--bundle", bundle, "--source", "long.avi", "--save", "out.mp4", "--json", "out.jsonl")
    with subprocess.Popen(command(*arguments), cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        wait_for_lines(tmp_path / "out.jsonl", process)
        process.send_signal(number)
        sent_s = time.monotonic()
        _, errors = process.communicate(timeout=20)
        stopped_s = time.monotonic() - sent_s
    assert process.returncode == 130, errors
    assert stopped_s < STOP_WITHIN_S
    assert "stopped before the end" in errors
    lines = (tmp_path / "out.jsonl").read_text().splitlines()
    assert 1 <= len(lines) < 300
    assert [json.loads(line)["frame"] for line in lines] == list(range(len(lines)))
    assert count_frames(tmp_path / "out.mp4") == len(lines)


def test_signal_ends_a_run_within_a_second_while_the_camera_is_silent(make_bundle, tmp_path):
    server = MjpegServer(frames=60)
    bundle = make_bundle("detector", formats=("onnx",))
    address = f"http://127.0.0.1:{server.port}/stream"
    arguments = ("--bundle", bundle, "--source", address, "--save", "out.mp4", "--json", "out.jsonl")
    try:
        with subprocess.Popen(command(*arguments), cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
            wait_for_lines(tmp_path / "out.jsonl", process)
            time.sleep(1.0)  # the server has sent all its frames: the capture thread waits in the network
            process.send_signal(signal.SIGTERM)
            sent_s = time.monotonic()
            _, errors = process.communicate(timeout=20)
            stopped_s = time.monotonic() - sent_s
    finally:
        server.close()
    assert process.returncode == 0, errors
    assert stopped_s < STOP_WITHIN_S
    records = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert 1 <= len(records) <= 60
    assert records[0]["source"] == address
    assert abs(records[0]["unix_time_s"] - time.time()) < 60
    assert count_frames(tmp_path / "out.mp4") >= 1


def test_trust_lets_only_signed_bundles_run_and_never_goes_back(make_bundle, clip, tmp_path):
    bundle = make_bundle("detector", formats=("onnx",))
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "maker.pub").write_text(public_pem(private_key(1)))
    arguments = ("--bundle", bundle, "--trust", "keys", "--accepted", "accepted.json", "--self-test")
    run = run_camera(*arguments, cwd=tmp_path)
    assert run.returncode == 7
    assert "not signed (no signature.json), but --trust keys asks for it" in run.stderr

    write_manifest(dataclasses.replace(read_manifest(bundle), version=2), bundle)
    sign_folder(bundle, private_key(1))
    run = run_camera(*arguments, "--source", clip, "--max-frames", 1, cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    assert "tiny-detector version 2, signed by maker (fd110d301d2f077d)" in run.stderr
    accepted = json.loads((tmp_path / "accepted.json").read_text())
    assert {name: release["version"] for name, release in accepted.items()} == {"tiny-detector": 2}

    write_manifest(dataclasses.replace(read_manifest(bundle), version=1), bundle)
    sign_folder(bundle, private_key(1))
    run = run_camera(*arguments, cwd=tmp_path)
    assert run.returncode == 7
    assert "'tiny-detector': version 1 is older than version 2" in run.stderr
    assert "self-test passed" not in run.stderr
    assert run_camera("--bundle", bundle, "--self-test", cwd=tmp_path).returncode == 0


def test_a_version_that_fails_its_self_test_is_not_noted(make_bundle, tmp_path):
    bundle = make_bundle("detector", formats=("onnx",))
    image = cv2.imread(str(bundle / "golden" / "00.png"))
    cv2.imwrite(str(bundle / "golden" / "00.png"), 255 - image)
    manifest = read_manifest(bundle)
    files = [file for file in manifest.files if isinstance(file, ModelFile)]
    files += [describe_file(bundle, f"golden/{name}") for name in ("00.png", "00.npz", "golden.json")]
    write_manifest(dataclasses.replace(manifest, files=tuple(files)), bundle)
    sign_folder(bundle, private_key(1))
    (tmp_path / "maker.pub").write_text(public_pem(private_key(1)))
    run = run_camera(
        "--bundle", bundle, "--trust", "maker.pub", "--accepted", "accepted.json", "--self-test", cwd=tmp_path
    )
    assert run.returncode == 9, run.stderr
    assert not (tmp_path / "accepted.json").exists()


def wait_for_lines(path: Path, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 20
    while not path.exists() or not path.stat().st_size:
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        assert time.monotonic() < deadline, "no line of JSON in time"
        time.sleep(0.01)


def test_reader_of_standard_output_may_end_first(make_bundle, clip, tmp_path):
    bundle = make_bundle("detector", formats=("onnx",))
    read_end, write_end = os.pipe()
    os.close(read_end)
    arguments = command("--bundle", bundle, "--source", clip, "--json", "-", "--quiet")
    run = subprocess.run(arguments, cwd=tmp_path, stdout=write_end, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write_end)
    assert run.returncode == 10
    assert run.stderr == "error: -: the program that reads the lines has ended\n"
