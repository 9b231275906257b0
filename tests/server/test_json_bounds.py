"""Hostile JSON is refused before it becomes objects, and none that anybody means is."""

from __future__ import annotations

import base64
import json
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cvforge_server.errors import Code, RequestError
from cvforge_server.json_bounds import MOST_OUTSIDE, MOST_QUOTES, _bytes_outside, check_bounds
from cvforge_server.request import Part
from server.asking import CoreMaker

MB = 1_000_000
HOSTILE = {
    "lists": b'{"images": [' + b"[]," * (5 * MB),
    "inputs": b'{"inputs": [' + b"{}," * (5 * MB),
    "deep lists": b'{"images": [' + b"[[[[[[]]]]]]," * MB,
    "numbers": b'{"inputs": [{"data": [' + b"1.5," * (4 * MB),
    "texts": b'{"images": [' + b'"",' * (5 * MB),
    "keys": b'{"options": {' + b'"\\"":{},' * (2 * MB),
    "spaces": b" " * (15 * MB) + b"{}",
    "after a long text": b'["' + b"A" * (5 * MB) + b'"' + b",[]" * (3 * MB),
    "after escapes": b'["\\\\\\"' + b"\\\\" * (MB // 4) + b'"' + b",[]" * (3 * MB),
}
MEMORY_MB = 60
"""Of one hostile request that is within the bounds."""


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_json_is_refused_with_hardly_any_memory(name: str, open_core: CoreMaker) -> None:
    core, part = open_core("detector"), Part("body", HOSTILE[name], "application/json")
    tracemalloc.start()
    try:
        (reply,) = core.answer([[part]], ids=["r"])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (reply.status, reply.value["error"]["code"]) == (413, "too_large")
    assert "accepted" in reply.value["error"]["message"]
    assert peak < MB


@pytest.mark.parametrize("piece", [b"[],", b"{},", b"[[[[]]]],", b"1.5,"])
def test_what_is_just_within_the_bounds_takes_little_memory(piece: bytes, open_core: CoreMaker) -> None:
    body = b'{"images": [' + piece * ((MOST_OUTSIDE - 20) // len(piece)) + b"0]}"
    tracemalloc.start()
    try:
        (reply,) = open_core("detector").answer([[Part("body", body, "application/json")]], ids=["r"])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert reply.value["error"]["code"] == "too_many_images"
    assert peak < MEMORY_MB * MB


@pytest.mark.parametrize(
    ("within", "beyond"),
    [
        (b"[" + b" " * (MOST_OUTSIDE - 2) + b"]", b"[" + b" " * (MOST_OUTSIDE - 1) + b"]"),
        (b'["' + b'\\"' * (MOST_QUOTES - 2) + b'"]', b'["' + b'\\"' * (MOST_QUOTES - 1) + b'"]'),
        (b'["' + b"," * (2 * MOST_OUTSIDE) + b'"]', b'["\\\\"' + b"," * (2 * MOST_OUTSIDE) + b'"]'),
    ],
)
def test_the_bounds_are_where_they_are_said_to_be(within: bytes, beyond: bytes) -> None:
    check_bounds(within)
    with pytest.raises(RequestError, match="JSON: found [0-9]+ (bytes outside|quotation marks).*, accepted") as caught:
        check_bounds(beyond)
    assert caught.value.code is Code.TOO_LARGE


def test_many_large_images_in_indented_json_are_let_through() -> None:
    images = [{"name": f'größe "{number}".jpg', "data": base64.b64encode(bytes(MB)).decode()} for number in range(16)]
    check_bounds(json.dumps({"images": images, "options": {"classes": ["a"] * 1000}}, indent=8).encode())


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(
    st.recursive(
        st.none() | st.floats(allow_nan=False) | st.text('a"\\,[]{}\n', max_size=9),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text('a"\\', max_size=4), inner, max_size=4),
        max_leaves=12,
    )
)
def test_bytes_outside_of_strings_are_counted_as_a_parser_sees_them(value: object) -> None:
    text = json.dumps(value)
    strings, position, outside = json.JSONDecoder(), 0, 0
    while position < len(text):
        if text[position] == '"':
            position = strings.raw_decode(text, position)[1]
        else:
            position, outside = position + 1, outside + 1
    assert _bytes_outside(text.encode()) == outside
