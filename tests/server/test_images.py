"""Uploads become the pixels that `tools/predict.py` sees, and what is too large is refused before it is decoded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from cvforge_edge.image_io import read_image
from cvforge_server import images
from cvforge_server.errors import Code, RequestError
from cvforge_server.images import Limits, Upload, decode_upload
from server.pictures import HEIGHT, WIDTH, every_kind, photo, png_bomb, saved

KINDS = every_kind()
JPEG = KINDS["jpeg"]


def refusal(data: bytes | RequestError, limits: Limits | None = None) -> RequestError:
    with pytest.raises(RequestError) as caught:
        decode_upload(Upload("a", data), limits or Limits())
    return caught.value


def forbid_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    def decode(*_: Any, **__: Any) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(images, "decode_image", decode)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_gives_the_pixels_that_a_file_gives(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "picture"
    path.write_bytes(KINDS[kind])
    pixels = decode_upload(Upload("a", KINDS[kind]), Limits())
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels, read_image(path))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_rotation_by_exif_is_applied_as_pillow_and_predict_do(form: str, orientation: int, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if form == "WEBP" else {"subsampling": 0, "quality": 100} if form == "JPEG" else {}
    path = tmp_path / "picture"
    path.write_bytes(saved(photo(), form, exif=exif, **options))
    pixels = decode_upload(Upload("a", path.read_bytes()), Limits())
    np.testing.assert_array_equal(pixels, read_image(path))
    with Image.open(path) as opened:
        upright = np.asarray(ImageOps.exif_transpose(opened).convert("RGB"))[..., ::-1]
    assert pixels.shape == upright.shape == ((HEIGHT, WIDTH, 3) if orientation < 5 else (WIDTH, HEIGHT, 3))
    assert np.abs(pixels.astype(int) - upright).max() <= (4 if form == "JPEG" else 0)


@pytest.mark.parametrize(
    ("data", "code", "words"),
    [
        (b"", Code.EMPTY, "the image is empty; send the content of a JPEG, PNG or WebP file"),
        (
            b"GIF89a",
            Code.NOT_AN_IMAGE,
            "found 6 bytes that begin with 47 49 46 38 39 61, accepted the content of a JPEG",
        ),
        (JPEG[:20], Code.NOT_AN_IMAGE, "found 20 bytes"),
        (JPEG[:-300], Code.DAMAGED_IMAGE, "the image: truncated JPEG"),
        (KINDS["png-RGB"][:-5], Code.DAMAGED_IMAGE, "the image: truncated PNG"),
        (KINDS["webp-lossless"][:40], Code.DAMAGED_IMAGE, "the image: damaged"),
        (KINDS["webp-lossy"][:-9], Code.DAMAGED_IMAGE, "the image: damaged"),
    ],
)
def test_what_cannot_be_decoded_is_refused_with_its_code(data: bytes, code: Code, words: str) -> None:
    problem = refusal(data)
    assert problem.code is code
    assert problem.message.startswith(words)


def test_a_problem_from_reading_the_request_is_passed_on() -> None:
    problem = RequestError(Code.MALFORMED, "data: is not base64")
    assert refusal(problem) is problem


@pytest.mark.parametrize("sides", [(100_000, 100_000), (2**32 - 1, 2**32 - 1), (50_000_001, 1), (10_000, 5001)])
def test_a_bomb_is_refused_by_its_header_alone(sides: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    forbid_decoding(monkeypatch)
    problem = refusal(png_bomb(*sides))
    assert (problem.code, problem.status) == (Code.TOO_LARGE, 413)
    assert f"{sides[0]} x {sides[1]} pixels, accepted 50 megapixels" in problem.message


@pytest.mark.parametrize("megapixels", [WIDTH * HEIGHT / 1e6, 0.000249, 0.000251])
def test_as_many_pixels_as_are_accepted_are_taken_and_one_more_is_not(megapixels: float) -> None:
    count = round(megapixels * 1e6)
    fits, wider = (saved(photo(1, width), "PNG") for width in (count, count + 1))
    assert decode_upload(Upload("a", fits), Limits(megapixels=megapixels)).shape == (1, count, 3)
    assert refusal(wider, Limits(megapixels=megapixels)).code is Code.TOO_LARGE


def test_as_many_bytes_as_are_accepted_are_taken_and_one_more_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = Limits(image_mb=len(JPEG) / 1e6)
    assert decode_upload(Upload("a", JPEG), limits).shape == (HEIGHT, WIDTH, 3)
    forbid_decoding(monkeypatch)
    problem = refusal(JPEG + b"\x00", limits)
    assert (problem.code, problem.status) == (Code.TOO_LARGE, 413)
    assert f"the image has {len(JPEG) + 1} bytes, accepted" in problem.message
