"""The model looks at a part of the picture, and speaks in pixels of the whole."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest

from cvforge_edge.errors import UsageError
from cvforge_edge.predictor import Predictor
from cvforge_edge.region import RegionPredictor, in_whole_picture, parse_region
from cvforge_edge.types import ClassScores, Detections, SegmentationMap
from edge.conftest import two_squares
from edge.mjpeg import GREY, MjpegServer
from edge.test_camera import write_clip
from edge.test_run_camera import command, run_camera
from edge.test_supervised_run import WAIT_S, text_of, wait_for


@pytest.mark.parametrize(
    ("text", "rows", "columns"),
    [
        ("10,20,30,40", slice(20, 60), slice(10, 40)),
        ("0,0,100,80", slice(0, 80), slice(0, 100)),
        ("0.25,0.5,0.5,0.5", slice(40, 80), slice(25, 75)),
        ("0.0,0.0,1.0,1.0", slice(0, 80), slice(0, 100)),
        ("0.1,0.1,0.001,0.001", slice(8, 9), slice(10, 11)),
    ],
)
def test_region_in_pixels_or_shares(text, rows, columns):
    assert parse_region(text).pixels((80, 100)) == (rows, columns)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("1,2,3", "found no four numbers"),
        ("a,b,c,d", "found no four numbers"),
        ("0,0,0,5", "above 0"),
        ("-1,0,5,5", "at least 0"),
        ("0.5,0.0,0.6,1.0", "reach out of the picture"),
        ("nan,0,1.0,1", "above 0"),
        ("0,0,inf,1.", "above 0"),
    ],
)
def test_what_is_no_region_is_refused(text, words):
    with pytest.raises(UsageError, match=words) as caught:
        parse_region(text)
    assert caught.value.exit_code == 2
    assert "accepted X,Y,W,H" in str(caught.value)


def test_region_larger_than_the_picture_is_refused_with_its_size():
    with pytest.raises(UsageError, match="100 pixels wide and 80 high"):
        parse_region("60,0,41,10").pixels((80, 100))


def test_detector_finds_in_the_region_what_it_would_find_there_alone(make_bundle):
    # The tiny detector sees 48 x 32 pixels: a red square of 16 in a region of 96 x 64 is one box, in the whole picture none.
    image = np.zeros((200, 300, 3), np.uint8)
    image[84:148, 100:196] = two_squares()
    with Predictor.from_bundle(make_bundle("detector", formats=("onnx",)), backend="onnxruntime") as predictor:
        before = image.copy()
        found = RegionPredictor(predictor, parse_region("100,84,96,64")).predict(image)
        alone = predictor.predict(two_squares())
    np.testing.assert_array_equal(image, before)
    assert sorted(alone.boxes_xyxy.tolist()) == [[32, 16, 48, 32], [80, 48, 96, 64]]
    assert sorted(found.boxes_xyxy.tolist()) == [[132, 100, 148, 116], [180, 132, 196, 148]]
    np.testing.assert_array_equal(found.scores, alone.scores)


def test_masks_and_segmentations_lie_where_the_region_lies_and_are_void_outside():
    rows, columns, size_hw = slice(1, 3), slice(2, 4), (4, 5)
    masks = np.ones((1, 2, 2), bool)
    detections = Detections(np.array([[0, 0, 2, 2]], np.float32), np.ones(1, np.float32), np.zeros(1, np.int64), masks)
    whole = in_whole_picture(detections, rows=rows, columns=columns, size_hw=size_hw)
    assert whole.boxes_xyxy.tolist() == [[2, 1, 4, 3]]
    expected = np.zeros((4, 5), bool)
    expected[1:3, 2:4] = True
    np.testing.assert_array_equal(whole.masks, [expected])
    segmented = in_whole_picture(
        SegmentationMap(np.full((2, 2), 7, np.uint8)), rows=rows, columns=columns, size_hw=size_hw
    )
    np.testing.assert_array_equal(segmented.class_map, np.where(expected, 7, 255))


def test_classes_of_the_region_are_those_of_the_picture():
    scores = ClassScores(np.array([0.25, 0.75], np.float32))
    assert in_whole_picture(scores, rows=slice(0, 1), columns=slice(0, 1), size_hw=(9, 9)) is scores


def write_squares(folder: Path, *, sides: list[int]) -> None:
    """Black pictures, square, with sides of so many pixels."""
    folder.mkdir()
    for number, side in enumerate(sides):
        cv2.imwrite(str(folder / f"{number}.png"), np.zeros((side, side, 3), np.uint8))


def test_region_that_a_picture_does_not_have_ends_its_source_alone(make_bundle, tmp_path):
    write_clip(tmp_path / "small.mp4")
    write_squares(tmp_path / "large", sides=[128] * 12)
    bundle = make_bundle("detector", formats=("onnx",))
    arguments = ("--source", "a=small.mp4", "--source", "b=large", "--roi", "64,64,64,64", "--json", "-")
    ended = run_camera("--bundle", bundle, *arguments, cwd=tmp_path)
    assert ended.returncode == 2, ended.stderr
    assert "a: frame 0: --roi 64,64,64,64: reaches out of the picture, which is 64 pixels wide" in ended.stderr
    records = [json.loads(line) for line in ended.stdout.splitlines()]
    assert [(record["source"], record["frame"]) for record in records] == [(f"b/{n}.png", n) for n in range(12)]


def test_region_that_the_only_picture_does_not_have_is_an_error_also_where_it_was_the_last(make_bundle, tmp_path):
    write_squares(tmp_path / "photos", sides=[32])
    bundle = make_bundle("detector", formats=("onnx",))
    ended = run_camera("--bundle", bundle, "--source", "photos/0.png", "--roi", "0,0,33,32", cwd=tmp_path)
    assert ended.returncode == 2, ended.stderr
    assert "reaches out of the picture, which is 32 pixels wide and 32 high" in ended.stderr


def test_file_whose_pictures_become_too_small_ends_there_with_what_came_before(make_bundle, tmp_path):
    write_squares(tmp_path / "photos", sides=[64, 64, *[32] * 10])
    bundle = make_bundle("detector", formats=("onnx",))
    arguments = ("--source", "photos", "--roi", "0,0,48,48", "--json", "-", "--sessions", 1)
    ended = run_camera("--bundle", bundle, *arguments, cwd=tmp_path)
    assert ended.returncode == 2, ended.stderr
    assert "photos: frame 2: --roi" in ended.stderr
    assert [json.loads(line)["frame"] for line in ended.stdout.splitlines()] == [0, 1]


def test_camera_that_comes_back_with_smaller_pictures_fails_alone(make_bundle, tmp_path):
    changing, steady = MjpegServer(image_bgr=np.zeros((96, 96, 3), np.uint8)), MjpegServer(image_bgr=GREY)
    bundle, lines, log = make_bundle("detector", formats=("onnx",)), tmp_path / "out.jsonl", tmp_path / "log.txt"
    sources = [f"{name}=http://127.0.0.1:{one.port}/" for name, one in (("a", changing), ("b", steady))]
    options = ("--roi", "0,0,64,48", "--json", "out.jsonl", "--log", "log.txt", "--reconnect-for", "20")

    def count(name: str) -> int:
        return sum(json.loads(line)["source"] == name for line in text_of(lines).splitlines()[:-1])

    arguments = command("--bundle", bundle, "--source", sources[0], "--source", sources[1], *options)
    with subprocess.Popen(arguments, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        try:
            wait_for(lambda: count("a") > 3 and count("b") > 3, process)
            changing.close()
            changing = MjpegServer(changing.port, image_bgr=np.zeros((32, 32, 3), np.uint8))
            wait_for(lambda: "the other sources go on" in text_of(log), process)
            seen = count("b")
            wait_for(lambda: count("b") > seen + 10, process)
        finally:
            process.terminate()
        _, errors = process.communicate(timeout=WAIT_S)
    changing.close()
    steady.close()
    assert "reaches out of the picture, which is 32 pixels wide" in text_of(log)
    assert process.returncode == 0, errors
    assert "a: closed, " in errors


def test_camera_whose_pictures_lack_the_region_ends_with_the_code_that_a_service_starts_again(make_bundle, tmp_path):
    bundle = make_bundle("detector", formats=("onnx",))
    ended = run_camera("--bundle", bundle, "--source", "door=test:64x48@30", "--roi", "60,0,10,10", cwd=tmp_path)
    assert ended.returncode == 8, ended.stderr
    assert re.search(r"error: door: frame \d+: --roi 60,0,10,10: reaches out of the picture", ended.stderr)
