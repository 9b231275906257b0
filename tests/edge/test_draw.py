"""What is drawn, where, and how it looks on light and dark pictures of any size."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from cvforge_edge.contact_sheet import contact_sheet
from cvforge_edge.draw import (
    DARK,
    Style,
    class_color,
    draw_classification,
    draw_detections,
    draw_prediction,
    draw_segmentation,
)
from cvforge_edge.errors import SpecError
from cvforge_edge.types import ClassScores, Detections, SegmentationMap

LABELS = ("person", "car", "dog")


def one_box(box, *, class_id: int = 0, score: float = 0.9) -> Detections:
    return Detections(np.array([box], np.float32), np.array([score], np.float32), np.array([class_id], np.int64))


def grey(height: int, width: int, level: int = 128) -> np.ndarray:
    return np.full((height, width, 3), level, np.uint8)


def luma(color) -> float:
    return 0.114 * color[0] + 0.587 * color[1] + 0.299 * color[2]


@pytest.mark.parametrize(
    "prediction",
    [
        one_box((20, 40, 80, 90)),
        ClassScores(np.array([0.7, 0.2, 0.1], np.float32)),
        SegmentationMap(np.ones((120, 160), np.uint8)),
    ],
)
def test_drawing_changes_a_copy_and_not_the_picture(prediction):
    image = grey(120, 160)
    drawn = draw_prediction(image, prediction, labels=LABELS)
    assert drawn.shape == image.shape
    assert drawn.dtype == np.uint8
    assert (image == 128).all()
    assert (drawn != 128).any()


def test_box_is_drawn_on_its_edges_and_leaves_its_inside_alone():
    drawn = draw_detections(grey(200, 300), one_box((100, 60, 200, 160), class_id=1), labels=LABELS)
    color = class_color(1)
    for y, x in ((110, 100), (110, 200), (160, 150)):
        np.testing.assert_array_equal(drawn[y, x], color)
    assert (drawn[75:150, 110:190] == 128).all()
    assert (drawn[170:, :] == 128).all()


def test_box_stands_out_on_its_own_colour():
    image = np.full((200, 300, 3), class_color(0), np.uint8)
    drawn = draw_detections(image, one_box((100, 60, 200, 160)), labels=LABELS)
    dark = (np.abs(drawn.astype(int) - DARK).max(axis=2) <= 2).sum()
    assert dark >= 2 * (100 + 100)


def test_image_without_objects_stays_as_it_is():
    image = grey(50, 60)
    np.testing.assert_array_equal(draw_detections(image, Detections.empty(), labels=LABELS), image)


@pytest.mark.parametrize("box", [(-20, -20, 400, 300), (0, 0, 1, 1), (299, 199, 300, 200), (5, 5, 5, 5)])
def test_boxes_at_and_beyond_the_border_are_drawn_without_error(box):
    drawn = draw_detections(grey(200, 300), one_box(box), labels=LABELS)
    assert (drawn != 128).any()


def test_label_of_a_box_at_the_top_is_inside_the_picture():
    drawn = draw_detections(grey(200, 300), one_box((0, 0, 290, 190)), labels=LABELS)
    chip = (drawn[1:8, 4:60] == class_color(0)).all(axis=2)
    assert chip.sum() > 100


def test_labels_of_boxes_that_share_a_corner_do_not_cover_each_other():
    boxes = np.array([[50, 80, 200, 180], [50, 80, 190, 170]], np.float32)
    two = Detections(boxes, np.array([0.9, 0.8], np.float32), np.array([0, 1], np.int64))
    drawn = draw_detections(grey(240, 320), two, labels=LABELS)
    chips = [(drawn == class_color(class_id)).all(axis=2) for class_id in (0, 1)]
    # The surer one is above its box; the other, whose place that would have been, is inside its own.
    assert chips[0][62:78, 52:100].sum() > 100
    assert not chips[1][:78].any()
    assert chips[1][84:94, 56:100].sum() > 100


def test_colours_are_stable_and_neighbours_differ():
    colors = [class_color(i) for i in range(12)]
    assert colors == [class_color(i) for i in range(12)]
    for a, b in itertools.combinations(colors, 2):
        assert np.abs(np.subtract(a, b)).max() >= 40


def test_sizes_grow_with_the_picture():
    small, large = Style.for_image(240, 320), Style.for_image(1080, 1920)
    assert (small.line, small.text) == (1, 7)
    assert (large.line, large.text) == (6, 28)


def test_segmentation_tints_classes_but_neither_background_nor_void():
    class_map = np.zeros((400, 400), np.uint8)
    class_map[:, 200:] = 1
    class_map[300:, :] = 255
    drawn = draw_segmentation(grey(400, 400, 100), SegmentationMap(class_map), labels=("background", "road"))
    expected = np.rint(np.add(np.multiply(0.5, class_color(1)), 50))
    assert np.abs(drawn[250, 300] - expected).max() <= 1
    assert (drawn[250, 50] == 100).all()
    assert (drawn[350, 300] == 100).all()
    assert (drawn[:20, :40] != 100).any()  # the legend


def test_classification_bars_are_as_long_as_the_probabilities():
    scores = ClassScores(np.array([0.25, 0.75, 0.0], np.float32))
    drawn = draw_classification(grey(600, 800), scores, labels=LABELS, count=2)
    lengths = [(drawn == class_color(class_id)).all(axis=2).any(axis=0).sum() for class_id in (1, 0)]
    assert lengths[0] == pytest.approx(3 * lengths[1], abs=3)
    assert not (drawn == class_color(2)).all(axis=2).any()


@pytest.mark.parametrize("size_hw", [(8, 8), (1, 1), (12, 400)])
def test_tiny_pictures_are_drawn_on_without_error(size_hw):
    for prediction in (
        one_box((0, 0, 5, 5)),
        ClassScores(np.array([0.7, 0.2, 0.1], np.float32)),
        SegmentationMap(np.ones(size_hw, np.uint8)),
    ):
        assert draw_prediction(grey(*size_hw), prediction, labels=LABELS).shape == (*size_hw, 3)


def test_class_without_a_label_is_named_by_its_number():
    draw_detections(grey(50, 60), one_box((5, 5, 40, 40), class_id=9), labels=LABELS)


def test_letters_read_on_the_ground_of_every_class():
    image = grey(300, 400)
    for class_id in range(40):
        drawn = draw_detections(image, one_box((100, 100, 300, 280), class_id=class_id), labels=LABELS)
        chip = drawn[90:98, 100:180].reshape(-1, 3)
        contrast = max(abs(luma(pixel) - luma(class_color(class_id))) for pixel in chip.astype(int))
        assert contrast > 60


def test_contact_sheet_places_pictures_row_by_row_on_paper():
    images = [grey(30, 40, level) for level in (10, 20, 30)]
    sheet = contact_sheet(images, columns=2, cell_hw=(60, 80))
    height, width = sheet.shape[:2]
    assert sheet[height // 4, width // 4, 0] == 10
    assert sheet[height // 4, 3 * width // 4, 0] == 20
    assert sheet[3 * height // 4, width // 4, 0] == 30
    assert (sheet[3 * height // 4, 3 * width // 4] == 250).all()


def test_contact_sheet_has_room_for_captions_and_keeps_proportions():
    plain = contact_sheet([grey(100, 50, 10)], columns=4, cell_hw=(60, 80))
    with_text = contact_sheet([grey(100, 50, 10)], columns=4, captions=["x" * 500], cell_hw=(60, 80))
    assert with_text.shape[0] > plain.shape[0]
    assert with_text.shape[1] == plain.shape[1]
    rows, columns = np.nonzero((plain == 10).all(axis=2))
    assert (rows.max() - rows.min() + 1, columns.max() - columns.min() + 1) == (60, 30)


@pytest.mark.parametrize(
    ("count", "options"), [(0, {}), (2, {"columns": 0}), (2, {"captions": ["one"]}), (1, {"captions": []})]
)
def test_contact_sheet_refuses_what_it_cannot_lay_out(count, options):
    with pytest.raises(SpecError, match="contact sheet: found"):
        contact_sheet([grey(4, 4)] * count, **options)
