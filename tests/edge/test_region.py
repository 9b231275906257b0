"""The model looks at a part of the picture, and speaks in pixels of the whole."""

from __future__ import annotations

import numpy as np
import pytest

from cvforge_edge.errors import UsageError
from cvforge_edge.predictor import Predictor
from cvforge_edge.region import RegionPredictor, in_whole_picture, parse_region
from cvforge_edge.types import ClassScores, Detections, SegmentationMap
from edge.conftest import two_squares


@pytest.mark.parametrize(
    ("text", "rows", "columns"),
    [
        ("10,20,30,40", slice(20, 60), slice(10, 40)),
        ("0,0,100,80", slice(0, 80), slice(0, 100)),
        ("0.25,0.5,0.5,0.5", slice(40, 80), slice(25, 75)),
        ("0.0,0.0,1.0,1.0", slice(0, 80), slice(0, 100)),
        ("0.1,0.1,0.001,0.001", slice(8, 9), slice(10, 11)),
    ],
)
def test_region_in_pixels_or_shares(text, rows, columns):
    assert parse_region(text).pixels((80, 100)) == (rows, columns)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("1,2,3", "found no four numbers"),
        ("a,b,c,d", "found no four numbers"),
        ("0,0,0,5", "above 0"),
        ("-1,0,5,5", "at least 0"),
        ("0.5,0.0,0.6,1.0", "reach out of the picture"),
        ("nan,0,1.0,1", "above 0"),
        ("0,0,inf,1.", "above 0"),
    ],
)
def test_what_is_no_region_is_refused(text, words):
    with pytest.raises(UsageError, match=words) as caught:
        parse_region(text)
    assert caught.value.exit_code == 2
    assert "accepted X,Y,W,H" in str(caught.value)


def test_region_larger_than_the_picture_is_refused_with_its_size():
    with pytest.raises(UsageError, match="100 pixels wide and 80 high"):
        parse_region("60,0,41,10").pixels((80, 100))


def test_detector_finds_in_the_region_what_it_would_find_there_alone(make_bundle):
    # The tiny detector sees 48 x 32 pixels: a red square of 16 in a region of 96 x 64 is one box, in the whole picture none.
    image = np.zeros((200, 300, 3), np.uint8)
    image[84:148, 100:196] = two_squares()
    with Predictor.from_bundle(make_bundle("detector", formats=("onnx",)), backend="onnxruntime") as predictor:
        before = image.copy()
        found = RegionPredictor(predictor, parse_region("100,84,96,64")).predict(image)
        alone = predictor.predict(two_squares())
    np.testing.assert_array_equal(image, before)
    assert sorted(alone.boxes_xyxy.tolist()) == [[32, 16, 48, 32], [80, 48, 96, 64]]
    assert sorted(found.boxes_xyxy.tolist()) == [[132, 100, 148, 116], [180, 132, 196, 148]]
    np.testing.assert_array_equal(found.scores, alone.scores)


def test_masks_and_segmentations_lie_where_the_region_lies_and_are_void_outside():
    rows, columns, size_hw = slice(1, 3), slice(2, 4), (4, 5)
    masks = np.ones((1, 2, 2), bool)
    detections = Detections(np.array([[0, 0, 2, 2]], np.float32), np.ones(1, np.float32), np.zeros(1, np.int64), masks)
    whole = in_whole_picture(detections, rows=rows, columns=columns, size_hw=size_hw)
    assert whole.boxes_xyxy.tolist() == [[2, 1, 4, 3]]
    expected = np.zeros((4, 5), bool)
    expected[1:3, 2:4] = True
    np.testing.assert_array_equal(whole.masks, [expected])
    segmented = in_whole_picture(
        SegmentationMap(np.full((2, 2), 7, np.uint8)), rows=rows, columns=columns, size_hw=size_hw
    )
    np.testing.assert_array_equal(segmented.class_map, np.where(expected, 7, 255))


def test_classes_of_the_region_are_those_of_the_picture():
    scores = ClassScores(np.array([0.25, 0.75], np.float32))
    assert in_whole_picture(scores, rows=slice(0, 1), columns=slice(0, 1), size_hw=(9, 9)) is scores
