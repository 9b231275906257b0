"""Requests become answers: equal to what the predictor says, in order, and none fails because of another."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cvforge_edge.frame import Frame, Result
from cvforge_edge.image_io import decode_image
from cvforge_edge.predictor import Predictor
from cvforge_edge.sinks.jsonl import json_record
from cvforge_server.request import Part
from server.asking import BLUE, RED, SQUARES, CoreMaker, ask, statuses
from server.pictures import png_bomb, png_of

MODELS = ("detector", "classifier", "segmenter")


@pytest.mark.parametrize("backend", ["onnxruntime", "litert"])
@pytest.mark.parametrize("model", MODELS)
def test_an_answer_says_what_the_lines_of_predict_say(
    model: str, backend: str, open_core: CoreMaker, tmp_path: Path
) -> None:
    core = open_core(model, backend=backend)
    pictures = [SQUARES, RED, BLUE]
    reply = ask(core, *pictures)
    with Predictor.from_bundle(tmp_path / model, backend=backend) as predictor:
        for number, (data, result) in enumerate(zip(pictures, reply.value["results"], strict=True)):
            image = decode_image(data, name="x")
            frame = Frame(image, index=0, time_s=0.0, unix_time_s=None, source="x", captured_s=0.0)
            line = json_record(Result(frame, predictor.predict(image), predictor.manifest.labels))
            told = {
                name: value for name, value in line.items() if name not in ("frame", "time_s", "unix_time_s", "source")
            }
            assert result == {"image": f"image{number}", "status": 200, **told}
    assert reply.status == 200
    assert set(reply.value) == {"request_id", "model", "results", "times_ms"}


def test_the_two_squares_are_found_where_they_are(open_core: CoreMaker) -> None:
    reply = ask(open_core("detector"), SQUARES)
    found = [(row["label"], row["box_xyxy"]) for row in reply.value["results"][0]["detections"]]
    assert found == [("red", [32.0, 16.0, 48.0, 32.0]), ("blue", [80.0, 48.0, 96.0, 64.0])]
    assert reply.objects == 2


def test_options_change_the_answer_to_their_request_alone(open_core: CoreMaker) -> None:
    core = open_core("detector")
    image = Part("image", SQUARES, "image/png")
    asked = [[image], [image, Part("classes", b"blue")], [image, Part("score_threshold", b"1")], [image]]
    replies = core.answer(asked, ids=["a", "b", "c", "d"])
    found = [[row["label"] for row in reply.value["results"][0]["detections"]] for reply in replies]
    assert found == [["red", "blue"], ["blue"], [], ["red", "blue"]]
    assert [reply.value["request_id"] for reply in replies] == ["a", "b", "c", "d"]
    assert [reply.objects for reply in replies] == [2, 1, 0, 2]


def test_a_lower_threshold_than_the_bundles_finds_more(open_core: CoreMaker) -> None:
    core = open_core("detector")
    faint = png_of(np.full((32, 48, 3), (0, 0, 110), np.uint8))
    assert [ask(core, faint, **asked).objects for asked in ({}, {"score_threshold": "0.1"})] == [0, 24]


@pytest.mark.parametrize("model", MODELS)
def test_the_annotated_picture_has_the_size_of_the_image(model: str, open_core: CoreMaker) -> None:
    result = ask(open_core(model), SQUARES, annotated="true").value["results"][0]
    with Image.open(io.BytesIO(base64.b64decode(result["annotated_jpeg"]))) as opened:
        assert (opened.format, opened.size) == ("JPEG", (96, 64))
        assert (np.asarray(opened)[..., 1] > 100).any()  # the input has no green


BAD_IMAGES = [
    (b"", 400, "empty"),
    (b"hello", 415, "not_an_image"),
    (SQUARES[:-20], 422, "damaged_image"),
    (png_bomb(100_000, 100_000), 413, "too_large"),
]


@pytest.mark.parametrize(("bad", "status", "code"), BAD_IMAGES)
@pytest.mark.parametrize("batch_size", [1, 8])
def test_a_bad_image_never_fails_its_neighbours(
    bad: bytes, status: int, code: str, batch_size: int, open_core: CoreMaker
) -> None:
    core = open_core("batch", batch_size=batch_size)
    good = ask(core, RED, BLUE).value["results"]
    reply = ask(core, RED, bad, BLUE)
    assert reply.status == 200
    assert statuses(reply) == [200, status, 200]
    assert [reply.value["results"][number]["classes"] for number in (0, 2)] == [one["classes"] for one in good]
    wrong = reply.value["results"][1]
    assert (set(wrong), wrong["error"]["code"]) == ({"image", "status", "error"}, code)
    alone = ask(core, bad)
    assert (alone.status, bool(alone.phrase)) == (status, True)
    assert statuses(alone) == [status]


def test_without_any_good_image_the_worst_status_stands_for_the_request(open_core: CoreMaker) -> None:
    reply = ask(open_core("detector"), *(bad for bad, _, _ in BAD_IMAGES))
    assert statuses(reply) == [400, 415, 422, 413]
    assert (reply.status, reply.phrase, reply.objects) == (422, "Unprocessable Content", 0)


def test_requests_that_cannot_be_understood_stand_between_those_that_can(open_core: CoreMaker) -> None:
    image = Part("image", SQUARES, "image/png")
    asked = [[image], [], [image, Part("top", b"3")], [Part("body", b"{", "application/json")], [image, image]]
    replies = open_core("detector").answer(asked, ids=list("abcde"))
    assert [reply.status for reply in replies] == [200, 400, 400, 400, 200]
    assert [reply.value["error"]["code"] for reply in replies[1:4]] == ["empty", "bad_option", "malformed"]
    assert [reply.value["request_id"] for reply in replies] == list("abcde")
    assert {json.dumps(reply.value["model"]) for reply in replies} == {json.dumps(replies[0].value["model"])}
    assert statuses(replies[4]) == [200, 200]


def test_no_requests_have_no_replies(open_core: CoreMaker) -> None:
    assert open_core("detector").answer([], ids=[]) == []


def test_a_batch_says_what_each_image_says_alone(open_core: CoreMaker) -> None:
    generator = np.random.default_rng(0)
    pictures = [png_of(generator.integers(0, 256, (32, 48, 3)).astype(np.uint8)) for _ in range(7)]
    together = open_core("batch", batch_size=4)
    replies = together.answer([[Part("body", data)] for data in pictures], ids=["r"] * 7)
    alone = open_core("batch")
    for data, reply in zip(pictures, replies, strict=True):
        expected = alone.answer([[Part("body", data)]], ids=["r"])[0]
        assert reply.status == expected.status == 200
        assert {**reply.value, "times_ms": 0} == {**expected.value, "times_ms": 0}
