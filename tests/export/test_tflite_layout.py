"""TFLite files whose transpositions, slices and casts are arranged anew: fewer operators, the same numbers to the last bit."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import permutations
from typing import Any

import numpy as np
import pytest

from cvforge.export.tflite_axes import inverse, reshaped
from cvforge.export.tflite_graph import Graph, to_bytes
from cvforge.export.tflite_layout import sink_transposes
from cvforge.export.tflite_pixels import dequantise_pixels, stretch_constants
from cvforge.export.tflite_slices import slice_parts
from export.small_tflite import SmallFile, kinds, run

TO_CHANNELS_FIRST = (0, 3, 1, 2)
SIDE, CHANNELS, BINS = 4, 12, 3
CELLS = SIDE * SIDE


def image(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def same(before: Mapping[str, np.ndarray], after: Mapping[str, np.ndarray]) -> bool:
    return before.keys() == after.keys() and all(np.array_equal(before[name], after[name]) for name in before)


def channels_first_head() -> Any:
    """Two maps brought to (1, channels, cells), joined, decoded by a softmax over bins, and turned back at the end."""
    made = SmallFile()
    first = made.input((1, SIDE, SIDE, CHANNELS))
    second = made.add("LOGISTIC", [first], (1, SIDE, SIDE, CHANNELS))
    flat = [made.reshape(made.transpose(each, TO_CHANNELS_FIRST), (1, CHANNELS, CELLS)) for each in (first, second)]
    rows = made.concatenate(flat, 2)
    bins = made.transpose(made.reshape(rows, (1, CHANNELS // BINS, BINS, 2 * CELLS)), (0, 1, 3, 2))
    weights = made.constant(np.arange(BINS).reshape(1, 1, 1, BINS)), made.constant([0.5])
    mean = made.add(
        "CONV_2D",
        [made.softmax(bins), *weights],
        (1, CHANNELS // BINS, 2 * CELLS, 1),
        type="Conv2DOptions",
        strideH=1,
        strideW=1,
        padding=1,
    )
    sides = made.reshape(mean, (1, CHANNELS // BINS, 2 * CELLS))
    near = made.slice(sides, (0, 0, 0), (1, 2, 2 * CELLS))
    places = made.constant(np.arange(4 * CELLS).reshape(1, 2, 2 * CELLS))
    corners = made.add("SUB", [places, near], (1, 2, 2 * CELLS), type="SubOptions")
    stride = made.constant(np.arange(2 * CELLS).reshape(1, 1, 2 * CELLS))
    scaled = made.add("MUL", [corners, stride], (1, 2, 2 * CELLS), type="MulOptions")
    scores = made.add("LOGISTIC", [rows], (1, CHANNELS, 2 * CELLS))
    found = made.transpose(made.concatenate([scaled, scores], 1), (0, 2, 1))
    boxes = made.slice(found, (0, 0, 0), (1, 2 * CELLS, 2))
    return made.finish({"boxes": boxes, "scores": made.slice(found, (0, 0, 2), (1, 2 * CELLS, CHANNELS))})


def test_a_channels_first_head_ends_without_a_transposition_and_gives_the_same_to_the_last_bit() -> None:
    model = channels_first_head()
    values = image((1, SIDE, SIDE, CHANNELS))
    before = run(model, values)
    assert sink_transposes(model) > 0
    assert kinds(model).count("TRANSPOSE") == 0
    assert same(before, run(model, values))


def test_boxes_and_scores_that_were_joined_and_taken_apart_are_never_joined() -> None:
    model = channels_first_head()
    values = image((1, SIDE, SIDE, CHANNELS))
    before = run(model, values)
    sink_transposes(model)
    operators = kinds(model)
    assert slice_parts(model) == 2
    assert kinds(model).count("CONCATENATION") == operators.count("CONCATENATION") - 1
    assert kinds(model).count("SLICE") == operators.count("SLICE") - 2
    assert same(before, run(model, values))


def test_a_transposition_that_nothing_takes_back_stays_where_it_is() -> None:
    made = SmallFile()
    turned = made.transpose(made.input((1, SIDE, SIDE, CHANNELS)), TO_CHANNELS_FIRST)
    model = made.finish({"maps": made.add("LOGISTIC", [turned], (1, CHANNELS, SIDE, SIDE))})
    before = to_bytes(model)
    assert sink_transposes(model) == 0
    assert to_bytes(model) == before


def test_a_softmax_over_the_moved_axis_keeps_its_transposition_and_others_go() -> None:
    made = SmallFile()
    turned = made.transpose(made.input((1, SIDE, SIDE, CHANNELS)), TO_CHANNELS_FIRST)
    soft = made.softmax(turned)
    back = made.transpose(made.add("LOGISTIC", [turned], (1, CHANNELS, SIDE, SIDE)), inverse(TO_CHANNELS_FIRST))
    model = made.finish({"soft": soft, "back": back})
    values = image((1, SIDE, SIDE, CHANNELS))
    before = run(model, values)
    assert sink_transposes(model) == 4 * CELLS * CHANNELS
    assert kinds(model).count("TRANSPOSE") == 1
    assert same(before, run(model, values))


def test_a_map_is_turned_before_it_is_padded_where_it_must_be_turned() -> None:
    made = SmallFile()
    given = made.input((1, CHANNELS, SIDE, SIDE))
    padded = made.add(
        "PAD",
        [made.transpose(given, (0, 2, 3, 1)), made.constant([[0, 0], [1, 1], [1, 1], [0, 0]], np.int32)],
        (1, SIDE + 2, SIDE + 2, CHANNELS),
        type="PadOptions",
    )
    away = made.transpose(made.add("TANH", [given], (1, CHANNELS, SIDE, SIDE)), (0, 2, 3, 1))
    back = made.transpose(made.add("LOGISTIC", [away], (1, SIDE, SIDE, CHANNELS)), TO_CHANNELS_FIRST)
    model = made.finish({"soft": made.softmax(padded), "back": back})
    values = image((1, CHANNELS, SIDE, SIDE))
    before = run(model, values)
    assert sink_transposes(model) > 0
    assert sorted(kinds(model)) == ["LOGISTIC", "PAD", "SOFTMAX", "TANH", "TRANSPOSE"]
    assert kinds(model).index("TRANSPOSE") < kinds(model).index("PAD") < kinds(model).index("SOFTMAX")
    assert same(before, run(model, values))


def test_an_image_that_is_turned_and_turned_back_is_itself_where_it_is_read_and_given() -> None:
    made = SmallFile()
    given = made.input((1, SIDE, SIDE, CHANNELS))
    back = made.transpose(made.transpose(given, TO_CHANNELS_FIRST), inverse(TO_CHANNELS_FIRST))
    model = made.finish({"same": back, "curve": made.add("LOGISTIC", [back], (1, SIDE, SIDE, CHANNELS))})
    values = image((1, SIDE, SIDE, CHANNELS))
    before = run(model, values)
    sink_transposes(model)
    assert same(before, run(model, values))


def test_an_image_that_is_turned_before_it_is_padded_and_normalised_is_not_turned_at_all() -> None:
    made = SmallFile()
    turned = made.transpose(made.input((1, SIDE, SIDE, 3), np.uint8), TO_CHANNELS_FIRST)
    floats = made.add("CAST", [turned], (1, 3, SIDE, SIDE), type="CastOptions", inDataType=3, outDataType=0)
    scales = made.constant(np.array([0.1, 0.2, 0.3]).reshape(3, 1, 1))
    scaled = made.add("MUL", [floats, scales], (1, 3, SIDE, SIDE), type="MulOptions")
    sides = made.constant([[0, 0], [0, 0], [1, 2], [3, 4]], np.int32)
    padded = made.add("PAD", [scaled, sides], (1, 3, SIDE + 3, SIDE + 7), type="PadOptions")
    model = made.finish({"padded": made.transpose(padded, inverse(TO_CHANNELS_FIRST))})
    values = np.arange(3 * CELLS, dtype=np.uint8).reshape(1, SIDE, SIDE, 3)
    before = run(model, values)
    sink_transposes(model)
    assert kinds(model) == ["CAST", "MUL", "PAD"]
    assert same(before, run(model, values))
    assert dequantise_pixels(model)
    assert stretch_constants(model) == 1
    assert kinds(model) == ["DEQUANTIZE", "MUL", "PAD"]
    row = Graph(model).constant(int(model.subgraphs[0].operators[1].inputs[1]))
    np.testing.assert_array_equal(row, np.tile(np.float32([0.1, 0.2, 0.3]), (1, 1, SIDE, 1)))
    assert same(before, run(model, values))


@pytest.mark.parametrize(
    ("begin", "size", "changed"),
    [((0, 3), (2, 4), 1), ((0, 4), (2, 2), 1), ((1, 3), (1, 4), 1), ((0, 2), (2, 3), 0), ((0, 0), (2, 7), 0)],
)
def test_a_slice_reads_the_part_that_it_lies_in(begin: tuple[int, int], size: tuple[int, int], changed: int) -> None:
    made = SmallFile()
    given = made.input((2, 7))
    parts = [made.slice(given, (0, 0), (2, 3)), made.slice(given, (0, 3), (2, 4))]
    joined = made.concatenate([made.add("LOGISTIC", [part], made.graph.tensors[part].shape) for part in parts], 1)
    model = made.finish({"part": made.slice(joined, begin, size)})
    before = run(model, image((2, 7)))
    assert slice_parts(model) == changed
    assert kinds(model).count("CONCATENATION") == 1 - changed
    assert same(before, run(model, image((2, 7))))


def pixels(factor: Any) -> Any:
    made = SmallFile()
    given = made.input((1, 16, 16, 3), np.uint8)
    floats = made.add("CAST", [given], (1, 16, 16, 3), type="CastOptions", inDataType=3, outDataType=0)
    scaled = made.add("MUL", [floats, made.constant(factor)], (1, 16, 16, 3), type="MulOptions")
    return made.finish({"scaled": made.add("LOGISTIC", [scaled], (1, 16, 16, 3))})


@pytest.mark.parametrize(("factor", "left"), [(1 / 255, ["DEQUANTIZE"]), ([0.1, 0.2, 0.3], ["DEQUANTIZE", "MUL"])])
def test_pixels_become_floats_by_an_operator_that_absorbs_one_factor_for_all(factor: Any, left: list[str]) -> None:
    values = np.arange(768, dtype=np.uint8).reshape(1, 16, 16, 3)
    model = pixels(factor)
    before = run(model, values)
    assert dequantise_pixels(model)
    assert kinds(model) == [*left, "LOGISTIC"]
    assert same(before, run(model, values))
    assert not dequantise_pixels(model)


def test_a_factor_of_zero_or_less_is_no_step() -> None:
    model = pixels(-0.5)
    assert dequantise_pixels(model)
    assert kinds(model) == ["DEQUANTIZE", "MUL", "LOGISTIC"]


@pytest.mark.parametrize("order", list(permutations(range(4))))
@pytest.mark.parametrize("target", [(2, 3, 20), (6, 4, 5), (2, 15, 4), (2, 3, 2, 2, 5), (120,), (1, 2, 3, 4, 5, 1)])
def test_a_reshape_before_a_transposition_gives_what_it_gave_behind(
    order: tuple[int, ...], target: tuple[int, ...]
) -> None:
    base = np.empty(4, int)
    base[list(order)] = (2, 3, 4, 5)
    values = np.arange(120).reshape(base)
    found = reshaped(tuple(base), order, target)
    if found is not None:
        shape, turned = found
        np.testing.assert_array_equal(values.reshape(shape).transpose(turned), values.transpose(order).reshape(target))
    elif order == (0, 1, 2, 3) or target in ((2, 3, 2, 2, 5), (1, 2, 3, 4, 5, 1)):
        pytest.fail("axes that are kept or split can always be turned behind")
