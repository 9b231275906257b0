"""The way into the network's input and back, by hand, by property, and against torch."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from cvforge_edge.errors import SpecError
from cvforge_edge.geometry import Geometry
from cvforge_edge.preprocess import RESIZE_MODES, PreprocessSpec

SIZES_HW = [(480, 640), (640, 480), (33, 57), (1, 1), (1, 400), (720, 1280), (320, 320), (8, 8), (427, 641)]


def image_of(hw: tuple[int, int], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*hw, 3), dtype=np.uint8)


@pytest.mark.parametrize("resize", RESIZE_MODES)
@pytest.mark.parametrize("original_hw", SIZES_HW)
def test_every_image_becomes_a_contiguous_input_of_the_stated_size(resize: str, original_hw: tuple[int, int]) -> None:
    image = image_of(original_hw)
    before = image.copy()
    prepared, geometry = PreprocessSpec((64, 96), resize=resize).apply(image)
    assert prepared.shape == (64, 96, 3) and prepared.dtype == np.uint8 and prepared.flags.c_contiguous
    assert geometry.original_hw == original_hw and geometry.input_hw == (64, 96)
    assert not np.shares_memory(prepared, image)
    np.testing.assert_array_equal(image, before)


def test_letterbox_centres_the_image_and_pads_with_the_stated_grey() -> None:
    image = np.full((10, 20, 3), 200, np.uint8)
    prepared, geometry = PreprocessSpec((40, 40), pad_value=7).apply(image)
    assert (prepared[:10] == 7).all() and (prepared[30:] == 7).all() and (prepared[10:30] == 200).all()
    assert geometry.scale_xy == (2.0, 2.0) and geometry.offset_xy == (0.0, 10.0)


def test_stretch_fills_the_frame() -> None:
    prepared, geometry = PreprocessSpec((40, 40), resize="stretch").apply(np.full((10, 20, 3), 200, np.uint8))
    assert (prepared == 200).all()
    assert geometry.scale_xy == (2.0, 4.0) and geometry.offset_xy == (0.0, 0.0)


def test_center_crop_cuts_what_is_too_long() -> None:
    image = np.zeros((10, 30, 3), np.uint8)
    image[:, 10:20] = 200
    prepared, geometry = PreprocessSpec((20, 20), resize="center_crop").apply(image)
    assert (prepared == 200).all()
    assert geometry.scale_xy == (2.0, 2.0) and geometry.offset_xy == (-20.0, 0.0)


def test_center_crop_of_a_long_thin_image_needs_no_more_memory_than_its_input() -> None:
    thin = np.zeros((1, 30_000, 3), np.uint8)  # growing it first would take 300 x 9,000,000 pixels
    prepared, _ = PreprocessSpec((304, 304), resize="center_crop").apply(thin)
    assert prepared.shape == (304, 304, 3)


def test_color_order_says_which_channel_comes_first() -> None:
    blue = np.zeros((16, 16, 3), np.uint8)
    blue[..., 0] = 255
    assert PreprocessSpec((16, 16)).apply(blue)[0][0, 0].tolist() == [0, 0, 255]
    assert PreprocessSpec((16, 16), color_order="bgr").apply(blue)[0][0, 0].tolist() == [255, 0, 0]


def test_interpolation_is_the_one_asked_for() -> None:
    image = image_of((64, 64))
    for name, flag in (("linear", cv2.INTER_LINEAR), ("area", cv2.INTER_AREA), ("cubic", cv2.INTER_CUBIC)):
        prepared, _ = PreprocessSpec((20, 20), interpolation=name, color_order="bgr").apply(image)
        np.testing.assert_array_equal(prepared, cv2.resize(image, (20, 20), interpolation=flag))


@pytest.mark.parametrize(
    "image",
    [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)],
)
def test_only_three_channel_uint8_images_with_pixels_are_accepted(image: np.ndarray) -> None:
    with pytest.raises(SpecError, match=r"image: found .* expected \(height, width, 3\) uint8"):
        PreprocessSpec((16, 16)).apply(image)


def test_all_wrong_values_of_a_spec_are_reported_at_once() -> None:
    with pytest.raises(SpecError) as caught:
        PreprocessSpec((0, 64), resize="fit", pad_value=300, color_order="gbr", interpolation="nearest")  # type: ignore[arg-type]
    message = str(caught.value)
    for word in (
        "size_hw: found (0, 64)",
        "resize: found 'fit'",
        "pad_value: found 300",
        "color_order",
        "interpolation",
    ):
        assert word in message


@pytest.mark.parametrize("size_hw", [320, (320,), (320, 320.0), (True, 320), "320", None, (7, 320), (320, 9000)])
def test_size_is_two_whole_numbers_in_range(size_hw: object) -> None:
    with pytest.raises(SpecError, match="size_hw: found"):
        PreprocessSpec(size_hw)  # type: ignore[arg-type]


def test_a_size_given_as_list_is_the_same_spec() -> None:
    assert PreprocessSpec([64, 96]) == PreprocessSpec((64, 96))  # type: ignore[arg-type]


@pytest.mark.parametrize("resize", RESIZE_MODES)
@pytest.mark.parametrize("original_hw", SIZES_HW)
def test_boxes_come_back_where_they_were(resize: str, original_hw: tuple[int, int]) -> None:
    geometry = PreprocessSpec((320, 416), resize=resize).geometry(original_hw)
    height, width = original_hw
    random = np.random.default_rng(3)
    corners = np.sort(random.uniform(0, 1, (50, 2, 2)), axis=1) * (width, height)
    boxes = corners.reshape(50, 4).astype(np.float32)
    np.testing.assert_allclose(
        geometry.boxes_to_original(geometry.boxes_to_input(boxes)), boxes, atol=2e-4 * max(original_hw)
    )


def test_boxes_are_clipped_to_the_original_and_stay_float32() -> None:
    geometry = PreprocessSpec((40, 40)).geometry((10, 20))
    boxes = geometry.boxes_to_original(np.array([[-4, 0, 60, 40], [0, 10, 40, 30]], np.float32))
    assert boxes.tolist() == [[0, 0, 20, 10], [0, 0, 20, 10]] and boxes.dtype == np.float32


@pytest.mark.parametrize("resize", RESIZE_MODES)
def test_a_box_marks_the_same_pixels_before_and_after(resize: str) -> None:
    """A white square stays under its box: boxes, resizing and offsets agree on where pixels are."""
    image = np.zeros((180, 300, 3), np.uint8)
    image[60:120, 130:180] = 255
    prepared, geometry = PreprocessSpec((240, 240), resize=resize, pad_value=0).apply(image)
    x1, y1, x2, y2 = geometry.boxes_to_input(np.array([[130, 60, 180, 120]], np.float32))[0]
    weight = prepared[..., 0].astype(np.float64) / 255
    rows, columns = weight.sum(axis=1), weight.sum(axis=0)
    assert weight.sum() == pytest.approx((x2 - x1) * (y2 - y1), rel=0.01)
    assert (rows @ (np.arange(240) + 0.5)) / rows.sum() == pytest.approx((y1 + y2) / 2, abs=0.05)
    assert (columns @ (np.arange(240) + 0.5)) / columns.sum() == pytest.approx((x1 + x2) / 2, abs=0.05)


@pytest.mark.parametrize("resize", RESIZE_MODES)
def test_a_class_map_lies_in_the_input_as_its_image_does(resize: str) -> None:
    image = np.zeros((180, 300, 3), np.uint8)
    image[60:120, 130:180] = 255
    spec = PreprocessSpec((240, 240), resize=resize, pad_value=0)
    prepared, geometry = spec.apply(image)
    placed = geometry.map_to_input((image[..., 0] == 255).astype(np.uint8), fill=9)
    inside = placed != 9
    np.testing.assert_array_equal(placed[inside] == 1, prepared[..., 0][inside] > 127)


def test_map_to_input_fills_only_what_the_image_does_not_cover() -> None:
    geometry = PreprocessSpec((40, 40)).geometry((10, 20))
    placed = geometry.map_to_input(np.full((10, 20), 3, np.uint8), fill=255)
    assert (placed[10:30] == 3).all() and (placed[:10] == 255).all() and (placed[30:] == 255).all()


@pytest.mark.parametrize("resize", RESIZE_MODES)
@pytest.mark.parametrize("original_hw", [(37, 61), (300, 200), (8, 9)])
def test_map_to_input_takes_the_pixel_under_each_centre(resize: str, original_hw: tuple[int, int]) -> None:
    geometry = PreprocessSpec((24, 32), resize=resize).geometry(original_hw)
    class_map = np.random.default_rng(0).integers(0, 200, original_hw, dtype=np.uint8)
    placed = geometry.map_to_input(class_map, fill=255)
    for y in range(24):
        for x in range(32):
            column = int(np.floor((x + 0.5 - geometry.offset_xy[0]) / geometry.scale_xy[0]))
            row = int(np.floor((y + 0.5 - geometry.offset_xy[1]) / geometry.scale_xy[1]))
            inside = 0 <= row < original_hw[0] and 0 <= column < original_hw[1]
            assert placed[y, x] == (class_map[row, column] if inside else 255)


def original_field(geometry: Geometry, field: np.ndarray) -> np.ndarray:
    return np.stack(list(geometry.planes_to_original(field)), axis=-1)


@pytest.mark.parametrize("resize", RESIZE_MODES)
@pytest.mark.parametrize("stride", [1, 4, 8])
def test_a_class_map_survives_the_way_into_the_input_and_back(resize: str, stride: int) -> None:
    """Wide bands of classes come back at their place: field and map share one idea of where pixels are."""
    bands = np.zeros((120, 200), np.uint8)
    bands[:, 80:140] = 1
    bands[70:, :] = 2
    geometry = PreprocessSpec((240, 240), resize=resize).geometry((120, 200))
    placed = geometry.map_to_input(bands, fill=0)
    # One channel a class, averaged over cells: what a perfect network of this stride would say.
    one_hot = np.stack([placed == c for c in range(3)], axis=-1).astype(np.float32)
    field = one_hot.reshape(240 // stride, stride, 240 // stride, stride, 3).mean(axis=(1, 3))
    back = original_field(geometry, field).argmax(axis=-1)
    rows, columns = slice(0, 120), slice(0, 200)
    if resize == "center_crop":
        columns = slice(42, 158)  # the rest was never seen
    wrong = back[rows, columns] != bands[rows, columns]
    border = cv2.morphologyEx(bands, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
    border = cv2.dilate(border.astype(np.uint8), np.ones((2 * stride - 1, 2 * stride - 1), np.uint8)) > 0
    assert not (wrong & ~border[rows, columns]).any()
    assert wrong.mean() < 0.02 * stride


def reference_field(geometry: Geometry, field: np.ndarray) -> np.ndarray:
    """The definition of `planes_to_original`, pixel by pixel in double precision."""
    height, width = geometry.original_hw
    samples = []
    for axis, (count, size) in enumerate(((width, field.shape[1]), (height, field.shape[0]))):
        stride = size / (geometry.input_hw[1] if axis == 0 else geometry.input_hw[0])
        scale, offset = geometry.scale_xy[axis], geometry.offset_xy[axis]
        centres = [i for i in range(size) if 0 <= ((i + 0.5) / stride - offset) / scale <= count] or [size // 2]
        at = ((np.arange(count) + 0.5) * scale + offset) * stride - 0.5
        samples.append(np.clip(at, centres[0], centres[-1]))
    out = np.zeros((height, width, field.shape[2]))
    for y, row in enumerate(samples[1]):
        top, low = int(row), min(int(row) + 1, field.shape[0] - 1)
        for x, column in enumerate(samples[0]):
            left, right = int(column), min(int(column) + 1, field.shape[1] - 1)
            above = field[top, left] * (1 - (column - left)) + field[top, right] * (column - left)
            below = field[low, left] * (1 - (column - left)) + field[low, right] * (column - left)
            out[y, x] = above * (1 - (row - top)) + below * (row - top)
    return out


@pytest.mark.parametrize("resize", RESIZE_MODES)
@pytest.mark.parametrize("field_hw", [(32, 48), (8, 12), (4, 6), (5, 7), (64, 96)])
@pytest.mark.parametrize("original_hw", [(40, 60), (64, 64), (30, 90), (16, 24), (51, 33)])
def test_planes_to_original_is_its_definition(
    resize: str, field_hw: tuple[int, int], original_hw: tuple[int, int]
) -> None:
    """Also where a window begins on whole pixels and OpenCV resizes it."""
    field = np.random.default_rng(5).normal(size=(*field_hw, 3)).astype(np.float32)
    geometry = PreprocessSpec((32, 48), resize=resize).geometry(original_hw)
    found = original_field(geometry, field)
    assert found.shape == (*original_hw, 3) and found.dtype == np.float32
    np.testing.assert_allclose(found, reference_field(geometry, field), atol=1e-4)


def test_a_field_never_mixes_the_letterbox_border_into_the_image() -> None:
    geometry = PreprocessSpec((40, 40)).geometry((10, 20))
    field = np.full((40, 40, 1), 99, np.float32)
    field[10:30] = 1
    assert (original_field(geometry, field) == 1).all()


@pytest.mark.parametrize("channels", [1, 2, 5, 151])
def test_any_number_of_channels_is_brought_back(channels: int) -> None:
    field = np.random.default_rng(1).normal(size=(8, 12, channels)).astype(np.float32)
    geometry = PreprocessSpec((32, 48), resize="stretch").geometry((40, 60))
    found = original_field(geometry, field)
    for channel in range(channels):
        single = original_field(geometry, field[:, :, channel : channel + 1])
        np.testing.assert_array_equal(found[:, :, channel : channel + 1], single)


@pytest.mark.parametrize("original_hw", [(360, 480), (720, 960), (200, 333)])
@pytest.mark.parametrize("field_hw", [(45, 60), (360, 480)])
def test_stretched_fields_come_back_as_torch_interpolates(
    original_hw: tuple[int, int], field_hw: tuple[int, int]
) -> None:
    torch = pytest.importorskip("torch")
    field = np.random.default_rng(2).normal(size=(*field_hw, 4)).astype(np.float32)
    geometry = PreprocessSpec((360, 480), resize="stretch").geometry(original_hw)
    tensor = torch.from_numpy(field).permute(2, 0, 1)[None]
    expected = torch.nn.functional.interpolate(tensor, size=original_hw, mode="bilinear", align_corners=False)
    # Torch computes positions in single precision: up to 5e-5 of a pixel, times differences of up to 7 in this noise.
    np.testing.assert_allclose(original_field(geometry, field), expected[0].permute(1, 2, 0).numpy(), atol=4e-4)


def test_geometry_holds_for_any_image_and_frame() -> None:
    hypothesis = pytest.importorskip("hypothesis")
    strategies = pytest.importorskip("hypothesis.strategies")
    side, frame = strategies.integers(1, 3000), strategies.integers(8, 700)

    @hypothesis.settings(max_examples=200, deadline=None, derandomize=True, database=None)
    @hypothesis.given(side, side, frame, frame, strategies.sampled_from(RESIZE_MODES))
    def check(height: int, width: int, frame_height: int, frame_width: int, resize: str) -> None:
        geometry = PreprocessSpec((frame_height, frame_width), resize=resize).geometry((height, width))
        x1, y1, x2, y2 = geometry.boxes_to_input(np.array([[0, 0, width, height]], np.float32))[0]
        slack = 1e-3 * max(frame_height, frame_width)
        covers = x1 <= slack and y1 <= slack and x2 >= frame_width - slack and y2 >= frame_height - slack
        fits = x1 >= -slack and y1 >= -slack and x2 <= frame_width + slack and y2 <= frame_height + slack
        assert covers if resize == "center_crop" else fits
        assert covers if resize == "stretch" else True
        if resize == "stretch":
            return
        # Proportions are kept up to rounding one side to whole pixels, and the image is centred.
        image, outer = ((height, width), (frame_height, frame_width))
        inner = (y2 - y1, x2 - x1)
        if resize == "center_crop":
            image, outer = outer, image
            inner = (frame_height / geometry.scale_xy[1], frame_width / geometry.scale_xy[0])
        exact = min(outer[0] / image[0], outer[1] / image[1])
        for side_found, side_original in zip(inner, image, strict=True):
            assert abs(side_found - max(1, side_original * exact)) <= 0.5 + slack
        pixel = max(1.0, *geometry.scale_xy)
        assert abs((x1 + x2) - frame_width) <= pixel + slack and abs((y1 + y2) - frame_height) <= pixel + slack

    check()
