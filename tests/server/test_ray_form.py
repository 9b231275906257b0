"""Forms as parts: the very bytes that the client sent, and every other form is refused as one that cannot be read."""

from __future__ import annotations

import random

import pytest

from cvforge_server.errors import Code, RequestError
from cvforge_server.request import Part
from server.asking import SQUARES

pytest.importorskip("python_multipart")

from cvforge_server.rayserve.form import read_form

TYPE = "multipart/form-data; boundary=b-1"
HEAD = b'--b-1\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\nContent-Type: image/png\r\n\r\n'
FORM = HEAD + SQUARES + b"\r\n--b-1--\r\n"


def read(body: bytes, content_type: str = TYPE, most_parts: int = 5) -> list[Part]:
    return read_form(body, content_type, most_parts=most_parts)


def code(body: bytes, content_type: str = TYPE, most_parts: int = 5) -> Code:
    with pytest.raises(RequestError) as found:
        read(body, content_type, most_parts)
    return found.value.code


def test_a_form_of_another_library_is_read_byte_by_byte() -> None:
    urllib3 = pytest.importorskip("urllib3")
    every_byte = bytes(range(256)) * 3 + b"\r\n--\r\n--b"
    fields = {
        "plain": "0.5",
        "Grün": ("ä.png", every_byte, "image/png"),
        "untyped": ("b.bin", b"", "application/octet-stream"),
    }
    body, content_type = urllib3.encode_multipart_formdata(fields)
    assert read(body, content_type) == [
        Part("plain", b"0.5"),
        Part("Grün", every_byte, "image/png"),
        Part("untyped", b"", "application/octet-stream"),
    ]


def test_a_file_without_a_content_type_is_still_a_file_and_a_field_has_none() -> None:
    body = b'--b-1\r\nContent-Disposition: form-data; name="a"; filename="x"\r\n\r\nfile\r\n'
    body += b'--b-1\r\ncontent-disposition: form-data; name="b"\r\n\r\nfield\r\n--b-1--\r\n'
    assert read(body) == [Part("a", b"file", "application/octet-stream"), Part("b", b"field")]


def test_two_files_of_one_name_are_both_read() -> None:
    assert [part.data for part in read(HEAD + b"1\r\n" + HEAD + b"2\r\n--b-1--\r\n")] == [b"1", b"2"]


@pytest.mark.parametrize(
    "body",
    [b"", b"hello", FORM[:-6], HEAD, FORM.replace(b'name="image"; ', b""), FORM.replace(b"--b-1", b"--b-2")],
    ids=["empty", "text", "no last boundary", "only a head", "no name", "another boundary"],
)
def test_what_is_no_whole_form_is_malformed(body: bytes) -> None:
    assert code(body) is Code.MALFORMED


@pytest.mark.parametrize(
    "content_type", ["multipart/form-data", "multipart/form-data; boundary=", f"{TYPE}{'x' * 5000}"]
)
def test_a_form_needs_a_boundary_of_sane_length(content_type: str) -> None:
    assert code(FORM, content_type) is Code.MALFORMED


def test_a_form_with_more_parts_than_a_request_can_have_is_refused_before_they_are_read() -> None:
    assert len(read((HEAD + b"1\r\n") * 5 + b"--b-1--\r\n")) == 5
    assert code((HEAD + b"1\r\n") * 100_000) is Code.TOO_MANY_IMAGES


def test_no_broken_form_raises_anything_else() -> None:
    dice, refused = random.Random(1), 0
    base = HEAD + b"some bytes\r\n--b-1\r\nContent-Disposition: form-data; name=top\r\n\r\n5\r\n--b-1--\r\n"
    for _ in range(3000):
        body = bytearray(base)
        for _ in range(dice.randint(1, 4)):
            start = dice.randrange(len(body))
            body[start : start + dice.choice((0, 1, 1, 9))] = dice.randbytes(dice.choice((0, 1, 2)))
        try:
            read(bytes(body))
        except RequestError as error:
            assert error.code in (Code.MALFORMED, Code.TOO_MANY_IMAGES)
            refused += 1
    assert 500 < refused < 3000  # some mutations leave a form
