"""The size that a header promises is the size that decoding gives, and reading it never fails."""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cvforge_edge.image_io import MOST_JPEG_MARKERS, decode_image
from cvforge_server.image_header import ImageHeader, read_header
from server.pictures import HEIGHT, WIDTH, every_kind, exif_with_thumbnail, photo, png_chunk, saved, with_segments

KINDS = every_kind()
STARTS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\x00\x00\x00\x00WEBPVP8 ", b"RIFF\x00\x00\x00\x00WEBPVP8X")


@pytest.mark.parametrize("kind", KINDS)
def test_the_size_is_the_one_that_pillow_and_opencv_find(kind: str) -> None:
    header = read_header(KINDS[kind])
    with Image.open(io.BytesIO(KINDS[kind])) as opened:
        assert opened.format is not None
        assert (
            header
            == ImageHeader(opened.format.lower(), *opened.size)
            == ImageHeader(kind[:4].strip("-"), WIDTH, HEIGHT)
        )
    assert decode_image(KINDS[kind], name=kind).shape == (HEIGHT, WIDTH, 3)


@pytest.mark.parametrize("size_hw", [(1, 1), (1, 300), (300, 1), (255, 256), (257, 128), (2000, 3)])
@pytest.mark.parametrize(("form", "options"), [("JPEG", {}), ("PNG", {}), ("WEBP", {}), ("WEBP", {"lossless": True})])
def test_sides_of_any_length_are_read(form: str, options: dict[str, bool], size_hw: tuple[int, int]) -> None:
    height, width = size_hw
    assert read_header(saved(photo(height, width), form, **options)) == ImageHeader(form.lower(), width, height)


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_cut_anywhere_has_its_size_or_none(kind: str) -> None:
    data = KINDS[kind]
    whole = read_header(data)
    assert whole is not None
    found = [read_header(data[:length]) for length in (*range(min(5000, len(data))), *range(5000, len(data), 97))]
    first = found.index(whole)
    assert set(found[:first]) == {None}
    assert set(found[first:]) == {whole}


def test_a_thumbnail_inside_is_not_the_picture() -> None:
    data = KINDS["jpeg-thumbnail"]
    assert data.count(b"\xff\xd8\xff") == 2
    with Image.open(io.BytesIO(data)) as opened:
        assert opened.getexif()[0x0112] == 1  # the segment is one that readers understand
    assert read_header(data) == ImageHeader("jpeg", WIDTH, HEIGHT)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff",
        b"hello",
        b"GIF89a\x01\x00\x01\x00",
        b"BM" + bytes(60),
        b"RIFF\x10\x00\x00\x00WAVEfmt " + bytes(20),
        b"RIFF\x10\x00\x00\x00WEBPJUNK" + bytes(20),
        b"\x89PNG\r\n\x1a\n" + png_chunk(b"IDAT", bytes(20)),
        b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", struct.pack(">IIBBBBB", 0, 5, 8, 0, 0, 0, 0)),
        b"\xff\xd8\xff\xc0\x00\x11\x08\x00\x00\x00\x05" + bytes(20),
        b"\xff\xd8\xff\xe0\x00\x01" + bytes(30),
    ],
)
def test_what_is_no_image_or_has_no_area_has_no_header(data: bytes) -> None:
    assert read_header(data) is None


@pytest.mark.parametrize("stop", [b"\xff\x00", b"\xff\xd9", b"\xff\xd8", b"\x00\x00"])
def test_a_size_behind_what_a_decoder_reads_in_another_way_is_not_believed(stop: bytes) -> None:
    plain = KINDS["jpeg"]
    assert read_header(plain[:2] + stop + struct.pack(">H", 2) + plain[2:]) is None


def test_a_jpeg_with_endless_markers_is_given_up() -> None:
    plain = KINDS["jpeg"]
    for filling in (b"\xff", b"\xff\x01", b"\xff\xe0\x00\x02"):
        assert read_header(plain[:2] + filling * (MOST_JPEG_MARKERS + 1) + plain[2:]) is None
        few = plain[:2] + filling * 1000 + plain[2:]
        assert read_header(few) == ImageHeader("jpeg", WIDTH, HEIGHT)
        assert decode_image(few, name="few").shape == (HEIGHT, WIDTH, 3)


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(start=st.sampled_from(STARTS), rest=st.binary(max_size=200))
def test_random_bytes_are_read_without_an_error(start: bytes, rest: bytes) -> None:
    for data in (rest, start + rest):
        header = read_header(data)
        assert header is None or (header.width > 0 and header.height > 0)


@settings(max_examples=400, deadline=None, derandomize=True, database=None)
@given(
    kind=st.sampled_from(sorted(KINDS)),
    changes=st.lists(st.tuples(st.integers(0, 250), st.integers(0, 255)), min_size=1, max_size=6),
)
def test_no_decoded_picture_is_larger_than_its_header_said(kind: str, changes: Sequence[tuple[int, int]]) -> None:
    data = bytearray(KINDS[kind])
    for position, value in changes:
        data[position % len(data)] = value
    header = read_header(bytes(data))
    if header is None or header.width * header.height > 1_000_000:
        return  # refused by the server before it decodes
    pixels = cv2.imdecode(np.frombuffer(bytes(data), np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    assert pixels is None or pixels.shape[:2] == (header.height, header.width)


def test_a_second_size_does_not_bring_a_larger_picture() -> None:
    small, large = saved(photo(10, 12), "JPEG"), saved(photo(400, 600), "JPEG")
    frame = small.index(b"\xff\xc0")
    segment = small[frame : frame + 2 + int.from_bytes(small[frame + 2 : frame + 4], "big")]
    hidden = [
        large[:2] + segment + large[2:],  # two frames
        large[:2] + b"\xff\x00\x00\x02" + large[2:],  # no marker, which a decoder skips
        with_segments(large, [(0xE1, exif_with_thumbnail()), (0xFE, segment)]),
    ]
    assert [read_header(data) for data in hidden] == [
        ImageHeader("jpeg", 12, 10),
        None,
        ImageHeader("jpeg", 600, 400),
    ]
    assert cv2.imdecode(np.frombuffer(hidden[0], np.uint8), cv2.IMREAD_COLOR) is None
