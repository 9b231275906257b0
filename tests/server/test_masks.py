"""Masks in each form say what pycocotools, OpenCV and Pillow read out of them."""

from __future__ import annotations

import base64
import io

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image
from pycocotools import mask as coco

from cvforge_server.masks import encode_mask, png_base64, polygons, run_lengths

# pycocotools calls numpy in a way that numpy 2 discourages.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword")
ANY_MASK = arrays.arrays(np.bool_, st.tuples(st.integers(1, 12), st.integers(1, 12)))
SETTINGS = settings(max_examples=150, deadline=None, derandomize=True, database=None)


def one_pixel(height: int, width: int, *, row: int, column: int) -> np.ndarray:
    mask = np.zeros((height, width), np.bool_)
    mask[row, column] = True
    return mask


MASKS = {
    "empty": np.zeros((5, 7), np.bool_),
    "full": np.ones((7, 5), np.bool_),
    "first pixel": one_pixel(4, 6, row=0, column=0),
    "last pixel": one_pixel(4, 6, row=3, column=5),
    "inner pixel": one_pixel(6, 4, row=2, column=1),
    "one row": np.array([[True, False, True, True]]),
    "one column": np.array([[False], [True], [True]]),
    "large": np.random.default_rng(0).random((200, 301)) > 0.5,
}


def by_coco(encoded: dict[str, object]) -> np.ndarray:
    size = encoded["size"]
    assert isinstance(size, list)
    return coco.decode(coco.frPyObjects(encoded, *size)).astype(np.bool_)


def filled(outlines: list[list[int]], shape: tuple[int, ...]) -> np.ndarray:
    canvas = np.zeros(shape, np.uint8)
    if outlines:
        cv2.fillPoly(canvas, [np.array(outline, np.int32).reshape(-1, 2) for outline in outlines], 1)
    return canvas.astype(np.bool_)


def without_holes(mask: np.ndarray) -> np.ndarray:
    """The mask and everything that cannot be reached from outside of it in steps to the four sides."""
    framed = np.pad(mask.astype(np.uint8), 1)
    cv2.floodFill(framed, None, (0, 0), 2, flags=4)
    return framed[1:-1, 1:-1] != 2


@pytest.mark.parametrize("name", MASKS)
def test_run_lengths_give_pycocotools_the_mask(name: str) -> None:
    np.testing.assert_array_equal(by_coco(run_lengths(MASKS[name])), MASKS[name])


@SETTINGS
@given(ANY_MASK)
def test_run_lengths_of_any_mask_are_those_of_coco(mask: np.ndarray) -> None:
    encoded = run_lengths(mask)
    np.testing.assert_array_equal(by_coco(encoded), mask)
    assert all(count > 0 for count in encoded["counts"][1:])
    assert sum(encoded["counts"]) == mask.size
    compressed = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    assert coco.frPyObjects(encoded, *mask.shape)["counts"] == compressed["counts"]


def test_run_lengths_begin_with_zeros() -> None:
    assert run_lengths(np.array([[True, False], [True, True]])) == {"size": [2, 2], "counts": [0, 2, 1, 1]}
    assert run_lengths(MASKS["empty"]) == {"size": [5, 7], "counts": [35]}
    assert run_lengths(MASKS["full"]) == {"size": [7, 5], "counts": [0, 35]}


@pytest.mark.parametrize("name", [name for name in MASKS if name != "large"])
def test_filled_outlines_are_the_mask(name: str) -> None:
    np.testing.assert_array_equal(filled(polygons(MASKS[name]), MASKS[name].shape), MASKS[name])


@SETTINGS
@given(ANY_MASK)
def test_filled_outlines_are_any_mask_with_its_holes_filled(mask: np.ndarray) -> None:
    np.testing.assert_array_equal(filled(polygons(mask), mask.shape), without_holes(mask))


def test_outlines_have_x_before_y_and_one_for_each_part() -> None:
    mask = np.zeros((10, 20), np.bool_)
    mask[2:5, 11:17] = True
    mask[8, 3] = True
    found = sorted(polygons(mask), key=len)
    assert found[0] == [3, 8]
    assert {tuple(found[1][i : i + 2]) for i in range(0, 8, 2)} == {(11, 2), (16, 2), (16, 4), (11, 4)}
    assert polygons(MASKS["empty"]) == []


@SETTINGS
@given(ANY_MASK)
def test_a_png_of_a_mask_is_white_inside(mask: np.ndarray) -> None:
    with Image.open(io.BytesIO(base64.b64decode(png_base64(mask), validate=True))) as opened:
        assert (opened.format, opened.mode) == ("PNG", "L")
        np.testing.assert_array_equal(np.asarray(opened), np.where(mask, 255, 0))


def test_a_png_of_class_ids_keeps_every_value() -> None:
    class_map = np.arange(256, dtype=np.uint8).reshape(8, 32)
    with Image.open(io.BytesIO(base64.b64decode(png_base64(class_map)))) as opened:
        np.testing.assert_array_equal(np.asarray(opened), class_map)


@pytest.mark.parametrize("form", ["rle", "polygon", "png"])
def test_the_form_that_is_asked_for_is_given(form: str) -> None:
    expected = {"rle": run_lengths, "polygon": polygons, "png": png_base64}[form](MASKS["large"])
    assert encode_mask(MASKS["large"], form) == expected
