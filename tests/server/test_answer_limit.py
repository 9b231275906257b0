"""No answer is larger than its limit, in whichever form it is sent; the image that does not fit is refused alone."""

from __future__ import annotations

import base64
import gc
import json
import tracemalloc
from typing import Any

import cv2
import numpy as np
import pytest

from cvforge_edge.types import SegmentationMap
from cvforge_server.answer import result_fields
from cvforge_server.core import Core
from cvforge_server.errors import LONGEST_MESSAGE, RequestError
from cvforge_server.images import LONGEST_NAME, Limits
from cvforge_server.json_text import json_bytes, quoted
from cvforge_server.options import RequestOptions
from cvforge_server.reply import Reply
from cvforge_server.request import Part
from cvforge_server.room import Room
from server.asking import RED, SQUARES, CoreMaker, ask, statuses
from server.inferring import BAD, infer, rows, tensor
from server.pictures import jpeg_of

NOISE = jpeg_of(np.random.default_rng(0).integers(0, 256, (200, 300, 3), dtype=np.uint8))
"""Annotated, it is a JPEG of the same size again, and a third more in base64."""
LIMIT_MB = 0.16
FORMS = ("ours", "json", "binary")


def annotated(core: Core, *images: bytes, form: str, name: str = "image") -> tuple[Reply, list[dict[str, Any]]]:
    """The reply to these images, in one of our forms, and what it says about each of them."""
    if form == "ours":
        entries = [{"name": name, "data": base64.b64encode(image).decode()} for image in images]
        body = json.dumps({"images": entries, "options": {"annotated": True}}).encode()
        (reply,) = core.answer([[Part("body", body, "application/json")]], ids=["r"])
        return reply, reply.value["results"]
    asked = {"inputs": [tensor(*images, name=name)], "parameters": {"annotated": True}}
    asked["parameters"] |= {"binary_data_output": True} if form == "binary" else {}
    reply = infer(core, asked)
    if not reply.tail:
        return reply, rows(reply)
    found, tail = [], reply.tail
    while tail:
        length = int.from_bytes(tail[:4], "little")
        found.append(json.loads(tail[4 : 4 + length]))
        tail = tail[4 + length :]
    return reply, found


@pytest.mark.parametrize("form", FORMS)
def test_an_image_whose_answer_does_not_fit_is_refused_and_its_neighbours_stay(form: str, open_core: CoreMaker) -> None:
    core = open_core("detector", limits=Limits(answer_mb=LIMIT_MB))
    alone = len(annotated(core, NOISE, form=form)[0].body)
    assert LIMIT_MB * 1e6 / 3 < alone < LIMIT_MB * 1e6 / 2, "two fit, and a third does not"
    reply, found = annotated(core, NOISE, BAD, NOISE, NOISE, RED, NOISE, form=form)
    assert [row["status"] for row in found] == [200, 422, 200, 413, 200, 413]
    assert (reply.status, reply.images, len(reply.body) <= LIMIT_MB * 1e6) == (200, 6, True)
    assert reply.codes == ("ok", "damaged_image", "ok", "answer_too_large", "ok", "answer_too_large")
    assert reply.objects == sum(len(row.get("detections", ())) for row in found)
    error = found[3]["error"]
    assert error["code"] == "answer_too_large"
    assert "of 0.16 MB for the whole answer; send fewer images" in error["message"]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("limit_mb", [0.001, 0.003, 0.0101, 0.1, 0.1234567])
def test_what_is_sent_is_counted_whatever_the_names_are_and_however_much_fits(
    limit_mb: float, form: str, open_core: CoreMaker
) -> None:
    core = open_core("detector", limits=Limits(answer_mb=limit_mb))
    for name in ("a", '"\\\n\x00\x7f', "\ud800größe\U0001f600"):
        reply, found = annotated(core, SQUARES, NOISE, RED, BAD, form=form, name=name * 3)
        refused = sum(row["status"] != 200 for row in found)
        bare = 2000 if refused > 1 and limit_mb < 0.01 else 0  # who and why is said also where there is no room for it
        assert len(reply.body) <= limit_mb * 1e6 + bare and len(found) == 4
        assert all(set(row) == {"image", "status", "error"} for row in found if row["status"] != 200)


def test_the_whole_room_is_used_and_not_a_byte_more(open_core: CoreMaker) -> None:
    size = len(ask(open_core("detector"), NOISE, annotated="true").body)
    found = {
        spare: ask(open_core("detector", limits=Limits(answer_mb=(size + spare) / 1e6)), NOISE, annotated="true").status
        for spare in (-1, 200)
    }
    assert found == {-1: 413, 200: 200}


def test_masks_of_a_class_map_without_order_are_refused_before_they_are_lists() -> None:
    class_map = np.random.default_rng(0).integers(0, 3, (1000, 1200), dtype=np.uint8)
    prediction, labels = SegmentationMap(class_map), ("a", "b", "c")

    def fields(form: str, room: Room) -> dict[str, Any]:
        options = RequestOptions(masks=form)
        return result_fields(prediction, labels=labels, options=options, picture_of=lambda: class_map, room=room)

    for form in ("rle", "polygon", "png"):
        size = len(json_bytes(fields(form, Room(1e9, answer_mb=1000))["class_map_png" if form == "png" else "masks"]))
        assert len(json_bytes(fields(form, Room(size, answer_mb=1)))) > size
        tracemalloc.start()
        with pytest.raises(RequestError) as caught:
            fields(form, Room(10_000, answer_mb=1))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert caught.value.code.value == "answer_too_large" and caught.value.status == 413
        assert form != "rle" or peak < 40 * class_map.size


def test_quoted_json_is_what_the_standard_library_makes_of_it() -> None:
    for value in ({"a": '"\\\n\x00\x7f \u2028 größe \U0001f600'}, ['\\"', {}], "\x1f"):
        data = json_bytes(value)
        assert quoted(data) == json.dumps(data.decode(), ensure_ascii=False).encode()


def test_names_are_repeated_and_must_not_be_long(open_core: CoreMaker) -> None:
    core, name = open_core("detector"), "ü" * LONGEST_NAME
    data = base64.b64encode(RED).decode()

    def asked(longer: str) -> list[Reply]:
        body = json.dumps({"images": [{"name": longer, "data": data}]}).encode()
        theirs = [{"inputs": [tensor(RED, name=longer)]}, {"id": longer, "inputs": [tensor(RED)]}]
        parts = [[Part("body", body, "application/json")], [Part(longer, RED, "image/png")]]
        return [*core.answer(parts, ids=["r", "r"]), *(infer(core, value) for value in theirs)]

    assert [reply.status for reply in asked(name)] == [200] * 4
    for reply in asked(name + "ü"):
        text = reply.body.decode()
        assert reply.status == 400 and "malformed" in text and len(reply.body) < 1500
        assert f"found {LONGEST_NAME + 1} letters, accepted {LONGEST_NAME}" in text


def test_a_refusal_does_not_repeat_megabytes(open_core: CoreMaker) -> None:
    long = "x" * 100_000
    body = json.dumps({"images": [{long: 1, "data": 3}]}).encode()
    (reply,) = open_core("detector").answer([[Part("body", body, "application/json")]], ids=["r"])
    assert reply.value["error"]["code"] == "malformed" and len(reply.value["error"]["message"]) == LONGEST_MESSAGE


def test_pictures_are_not_kept_in_several_copies(open_core: CoreMaker) -> None:
    core = open_core("detector")
    large = jpeg_of(cv2.resize(cv2.imdecode(np.frombuffer(NOISE, np.uint8), 1), (900, 600)))
    tracemalloc.start()
    reply = ask(core, *[large] * 16, annotated="true")
    body = reply.body
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert statuses(reply) == [200] * 16
    picture = 600 * 900 * 3
    assert peak < 2.2 * len(body) + 4 * picture, "rows, the body that they become, and one picture at a time"


def test_nothing_is_left_of_pictures_that_were_refused(open_core: CoreMaker) -> None:
    core = open_core("detector", limits=Limits(answer_mb=0.01))
    large = jpeg_of(cv2.resize(cv2.imdecode(np.frombuffer(NOISE, np.uint8), 1), (900, 600)))
    picture = 600 * 900 * 3
    gc.collect()
    gc.disable()
    tracemalloc.start()
    try:
        found = statuses(ask(core, large, large[:-9], large, annotated="true"))
        left = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
        gc.enable()
    assert found == [413, 422, 413] and left < picture / 4, "without waiting for the collector of cycles"
