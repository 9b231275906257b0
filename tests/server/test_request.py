"""Whatever a client sends is read into images and options, or refused with what was wrong."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cvforge_edge.types import Task
from cvforge_server import request
from cvforge_server.errors import Code, RequestError
from cvforge_server.images import Limits, Upload
from cvforge_server.options import RequestOptions
from cvforge_server.request import LONGEST_OPTION, ImageRequest, Part, read_request
from server.pictures import every_kind

JPEG, PNG = every_kind()["jpeg"], every_kind()["png-RGB"]
JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
JPEG_BASE64 = base64.b64encode(JPEG).decode()


def read(*parts: Part, images: int = 16, task: Task = Task.DETECTION) -> ImageRequest:
    return read_request(parts, limits=Limits(images=images), task=task, labels=("red", "blue"))


def refusal(*parts: Part, images: int = 16) -> RequestError:
    with pytest.raises(RequestError) as caught:
        read(*parts, images=images)
    return caught.value


def json_part(value: Any, content_type: str = JSON) -> Part:
    text = value if isinstance(value, str) else json.dumps(value)
    return Part("body", text.encode(), content_type)


@pytest.mark.parametrize("name", ["body", "data"])
@pytest.mark.parametrize("content_type", ["", "image/jpeg", "application/octet-stream", FORM, "text/plain", "*/*"])
@pytest.mark.parametrize("data", [JPEG, b"", b"hello", b"\x00\xff", JPEG[:100]])
def test_a_body_is_one_image_whatever_its_content_type(name: str, content_type: str, data: bytes) -> None:
    assert read(Part(name, data, content_type)) == ImageRequest((Upload(name, data),), RequestOptions())


def test_files_of_a_form_are_images_and_its_fields_and_the_address_options() -> None:
    parts = (
        Part("score_threshold", b"0.5"),
        Part("left", JPEG, "image/jpeg"),
        Part("classes", b"red,blue", "text/plain"),
        Part("right", b"", "application/octet-stream"),
        Part("note", b"some text", "text/plain; charset=utf-8"),
    )
    asked = read(*parts)
    assert asked.uploads == (Upload("left", JPEG), Upload("right", b""), Upload("note", b"some text"))
    assert asked.options == RequestOptions(score_threshold=0.5, classes=("red", "blue"))


@pytest.mark.parametrize("data", [JPEG, PNG, JPEG[:90], b"\x00" * 20, b"\xff\xfe", b"a" * (LONGEST_OPTION + 1)])
def test_without_content_type_what_is_no_short_text_is_an_image(data: bytes) -> None:
    assert read(Part("cam.jpg", data), Part("image", b"hello"), Part("image_2", b"")).uploads == (
        Upload("cam.jpg", data),
        Upload("image", b"hello"),
        Upload("image_2", b""),
    )


@pytest.mark.parametrize("others", [(), (Part("body", JPEG, "image/jpeg"),), (Part("body", JPEG),)])
@pytest.mark.parametrize("value", [b"0.5", b"", b"red,blue", "größer".encode(), b"true\n"])
def test_a_misspelt_option_is_named_with_an_image_and_without(value: bytes, others: tuple[Part, ...]) -> None:
    for parts in ((Part("scroe_threshold", value), *others), (*others, Part("scroe_threshold", value))):
        problem = refusal(*parts)
        assert problem.code is Code.UNKNOWN_OPTION
        assert problem.message.startswith("option: found 'scroe_threshold', accepted score_threshold, classes")


@pytest.mark.parametrize("content_type", ["", "image/png"])
def test_an_option_that_is_no_text_is_refused(content_type: str) -> None:
    problem = refusal(Part("classes", JPEG, content_type), Part("body", JPEG))
    assert problem.code is Code.BAD_OPTION
    assert problem.message == f"classes: found {len(JPEG)} bytes that are no UTF-8 text"


def test_an_option_given_twice_is_refused() -> None:
    image = json_part({"images": [JPEG_BASE64], "options": {"score_threshold": 0.5}})
    again = Part("score_threshold", b"0.6")
    for parts in ((again, image), (image, again), (again, again, Part("body", JPEG))):
        problem = refusal(*parts)
        assert (problem.code, problem.message) == (
            Code.BAD_OPTION,
            "'score_threshold': given twice; give it once",
        )


def test_json_holds_images_with_and_without_names_and_options() -> None:
    value = {
        "images": [{"name": "a.jpg", "data": JPEG_BASE64}, {"data": JPEG_BASE64}, base64.b64encode(PNG).decode(), ""],
        "options": {"score_threshold": 0.5, "classes": ["red"], "annotated": True},
    }
    for content_type in (JSON, "Application/JSON; charset=UTF-8", " application/json "):
        asked = read(json_part(value, content_type))
        assert asked.uploads == (Upload("a.jpg", JPEG), Upload("1", JPEG), Upload("2", PNG), Upload("3", b""))
        assert asked.options == RequestOptions(score_threshold=0.5, classes=("red",), annotated=True)


def test_the_address_may_hold_options_for_images_in_json() -> None:
    asked = read(Part("annotated", b"1"), json_part({"images": [JPEG_BASE64], "options": {"score_threshold": 0.5}}))
    assert asked.options == RequestOptions(score_threshold=0.5, annotated=True)


@pytest.mark.parametrize(
    "text",
    [
        "%%%",
        "A",
        JPEG_BASE64 + "\n",
        "data:image/jpeg;base64," + JPEG_BASE64,
        "Zm9v-_8=",
        "größer",
        "Zg=",
        "\ud800",
        "Zg==Zg==",
    ],
)
def test_wrong_base64_fails_its_entry_alone(text: str) -> None:
    value = {"images": [JPEG_BASE64, {"name": "bad", "data": text}, JPEG_BASE64]}
    before, wrong, after = read(json_part(value)).uploads
    assert (before, after) == (Upload("0", JPEG), Upload("2", JPEG))
    assert wrong.name == "bad"
    assert isinstance(wrong.data, RequestError)
    assert wrong.data.code is Code.MALFORMED
    assert wrong.data.message.startswith("data: is not base64")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "JSON: Expecting value"),
        ("{", "JSON: Expecting"),
        ("[]", "JSON: found a list; accepted forms"),
        ("null", "JSON: found null;"),
        ("3", "JSON: found a number;"),
        ("true", "JSON: found a truth value;"),
        ('"x"', "JSON: found text;"),
        ("{}", "JSON: found an empty object;"),
        ('{"images": "x"}', "JSON: found an object with 'images';"),
        ('{"images": [], "option": {}}', "JSON: found an object with 'images', 'option';"),
        ('{"images": [], "images": []}', "JSON: key 'images' is given twice;"),
        ('{"images": [], "options": {"top": 1, "top": 2}}', "JSON: key 'top' is given twice;"),
        ('{"images": [], "options": []}', "JSON: options: found a list, accepted an object"),
        ('{"images": [], "options": {"score_threshold": NaN}}', "JSON: NaN is not a number that JSON allows;"),
        ('{"images": [], "options": {"top": 1e999}}', "JSON: 1e999 is too large for a number;"),
        ('{"images": [], "options": {"top": ' + "9" * 5000 + "}}", "JSON: "),
        ('{"images": ' + "[" * 40 + "]" * 40 + "}", "JSON: nested deeper than 32 levels;"),
        ("[" * 100_000, "JSON: nested too deep to read;"),
        ('{"images": [3]}', "JSON: images[0]: found a number, accepted"),
        ('{"images": ["", {"name": "x"}]}', "JSON: images[1]: found an object with 'name', accepted"),
        ('{"images": [{"data": "", "nam": ""}]}', "JSON: images[0]: found an object with 'data', 'nam'"),
        ('{"images": [{"data": "", "name": 1}]}', "JSON: images[0].name: found a number, accepted text"),
        ("\ufeff{}", "JSON: "),
    ],
)
def test_json_that_says_something_else_is_malformed(text: str, words: str) -> None:
    problem = refusal(json_part(text))
    assert (problem.code, problem.status) == (Code.MALFORMED, 400)
    assert problem.message.startswith(words)


def test_json_that_is_no_utf8_is_malformed() -> None:
    problem = refusal(Part("body", b'{"images": ["\xff"]}', JSON))
    assert problem.code is Code.MALFORMED
    assert problem.message.startswith("JSON: found bytes that are no UTF-8 text; accepted forms")


@pytest.mark.parametrize("parts", [(), (Part("score_threshold", b"0.5"),), (json_part({"images": []}),)])
def test_a_request_without_images_is_told_the_accepted_forms(parts: tuple[Part, ...]) -> None:
    problem = refusal(*parts)
    assert (problem.code, problem.status) == (Code.EMPTY, 400)
    assert problem.message.startswith("the request has no image; accepted forms: the bytes of one image as the body;")


def test_as_many_images_as_are_accepted_are_taken_and_one_more_is_not() -> None:
    parts = [Part(f"image{number}", JPEG, "image/jpeg") for number in range(4)]
    assert len(read(*parts[:3], images=3).uploads) == 3
    for refused in (parts, [*parts[:1], json_part({"images": [JPEG_BASE64] * 3})]):
        problem = refusal(*refused, images=3)
        assert (problem.code, problem.status) == (Code.TOO_MANY_IMAGES, 413)
        assert problem.message == "the request has 4 images, accepted 3; send several requests"


def test_too_many_images_are_counted_before_any_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request, "_upload", None)
    assert refusal(json_part({"images": [""] * 100_000})).code is Code.TOO_MANY_IMAGES


NAMES = st.sampled_from(["body", "data", "image", "x", "classes", "top", "score_threshold", "annotated"]) | st.text()
TYPES = st.sampled_from(["", JSON, "image/jpeg", FORM, ";", "application/json; x"]) | st.text(max_size=5)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=9) | st.just(JPEG_BASE64[:400]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["images", "options", "name", "data", "top"]), inner, max_size=3)
    ),
    max_leaves=8,
).map(lambda value: json.dumps(value).encode())
PARTS = st.builds(
    Part, NAMES, st.binary(max_size=40) | st.sampled_from([JPEG, PNG, b"0.5", b"red"]) | JSON_VALUES, TYPES
)


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(st.lists(PARTS, max_size=4), st.sampled_from(list(Task)))
def test_random_parts_are_read_or_refused(parts: list[Part], task: Task) -> None:
    try:
        asked = read(*parts, images=3, task=task)
    except RequestError as problem:
        assert problem.status in (400, 413)
        assert problem.message
    else:
        assert 1 <= len(asked.uploads) <= 3
