"""What a client reads about a prediction, with and without what it asked for beside it."""

from __future__ import annotations

import base64
import io
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco

from cvforge_edge.draw import draw_prediction
from cvforge_edge.types import VOID_CLASS_ID, ClassScores, Detections, Prediction, SegmentationMap
from cvforge_server.answer import result_fields
from cvforge_server.options import RequestOptions

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword")
LABELS = ("red", "blue", "green")
OBJECTS = Detections(
    np.array([[1, 2, 3.00049, 4], [5, 6, 7, 8.25], [0, 0, 9, 9]], np.float32),
    np.array([0.25, 0.87654, 0.5], np.float32),
    np.array([0, 1, 0], np.int64),
)
PROBS = ClassScores(np.array([0.2, 0.7, 0.1], np.float32))
CLASS_MAP = np.array([[0, 0, 2, 2, 2], [0, 0, 2, VOID_CLASS_ID, 2]], np.uint8)
SEGMENTS = SegmentationMap(CLASS_MAP)
RED = {"label": "red", "class_id": 0, "score": 0.2}
BLUE = {"label": "blue", "class_id": 1, "score": 0.7}
GREEN = {"label": "green", "class_id": 2, "score": 0.1}


def not_needed() -> np.ndarray:
    raise AssertionError("the picture was decoded for nothing")


def fields_of(prediction: Prediction, **options: Any) -> dict[str, Any]:
    return result_fields(prediction, labels=LABELS, options=RequestOptions(**options), picture_of=not_needed)


def test_detections_come_surest_first_and_rounded() -> None:
    assert fields_of(OBJECTS) == {
        "detections": [
            {"label": "blue", "class_id": 1, "score": 0.8765, "box_xyxy": [5.0, 6.0, 7.0, 8.25]},
            {"label": "red", "class_id": 0, "score": 0.5, "box_xyxy": [0.0, 0.0, 9.0, 9.0]},
            {"label": "red", "class_id": 0, "score": 0.25, "box_xyxy": [1.0, 2.0, 3.0, 4.0]},
        ]
    }


@pytest.mark.parametrize(
    ("classes", "scores"),
    [(("red",), [0.5, 0.25]), (("blue", "green"), [0.8765]), (("green",), []), (("red", "red"), [0.5, 0.25])],
)
def test_detections_of_the_classes_that_were_asked_for(classes: tuple[str, ...], scores: list[float]) -> None:
    assert [row["score"] for row in fields_of(OBJECTS, classes=classes)["detections"]] == scores


@pytest.mark.parametrize(
    ("options", "rows"),
    [
        ({}, [BLUE, RED, GREEN]),
        ({"top": 1}, [BLUE]),
        ({"top": 1000}, [BLUE, RED, GREEN]),
        ({"classes": ("green", "red")}, [RED, GREEN]),
        ({"classes": ("green", "red"), "top": 1}, [RED]),
        ({"classes": ("green",), "top": 1}, [GREEN]),
    ],
)
def test_classes_are_those_that_were_asked_for_most_probable_first(
    options: dict[str, Any], rows: list[dict[str, Any]]
) -> None:
    assert fields_of(PROBS, **options) == {"classes": rows}


SHARES = {"red": 0.4, "green": 0.5, "void": 0.1}


def test_a_segmentation_tells_shares_and_no_mask_unless_asked() -> None:
    assert fields_of(SEGMENTS) == {"pixel_shares": SHARES}


def test_masks_of_a_segmentation_are_those_of_its_classes_without_void() -> None:
    lengths = fields_of(SEGMENTS, masks="rle")
    assert list(lengths) == ["pixel_shares", "masks"]
    assert list(lengths["masks"]) == ["red", "green"]
    outlines = fields_of(SEGMENTS, masks="polygon")["masks"]
    for label, class_id in (("red", 0), ("green", 2)):
        encoded = lengths["masks"][label]
        decoded = coco.decode(coco.frPyObjects(encoded, *encoded["size"]))
        np.testing.assert_array_equal(decoded, class_id == CLASS_MAP)
        canvas = np.zeros(CLASS_MAP.shape, np.uint8)
        cv2.fillPoly(canvas, [np.array(outline, np.int32).reshape(-1, 2) for outline in outlines[label]], 1)
        np.testing.assert_array_equal(canvas, class_id == CLASS_MAP)


def test_the_png_of_a_segmentation_is_its_class_map() -> None:
    fields = fields_of(SEGMENTS, masks="png")
    assert list(fields) == ["pixel_shares", "class_map_png", "class_map_values"]
    with Image.open(io.BytesIO(base64.b64decode(fields["class_map_png"], validate=True))) as opened:
        np.testing.assert_array_equal(np.asarray(opened), CLASS_MAP)
    assert fields["class_map_values"] == {"red": 0, "green": 2}


@pytest.mark.parametrize("prediction", [OBJECTS, PROBS, SegmentationMap(np.full((60, 80), 2, np.uint8))])
def test_the_annotated_picture_shows_what_is_drawn_on_a_screen(prediction: Prediction) -> None:
    picture = np.full((60, 80, 3), 90, np.uint8)
    fields = result_fields(
        prediction, labels=LABELS, options=RequestOptions(annotated=True), picture_of=lambda: picture
    )
    with Image.open(io.BytesIO(base64.b64decode(fields["annotated_jpeg"], validate=True))) as opened:
        assert opened.format == "JPEG"
        found = np.asarray(opened)[..., ::-1].astype(int)
    expected = draw_prediction(np.full((60, 80, 3), 90, np.uint8), prediction, labels=LABELS)
    assert np.abs(found - expected).mean() < 6
    assert np.abs(found - 90).mean() > np.abs(found - expected).mean()


def test_only_the_classes_that_were_asked_for_are_drawn() -> None:
    picture = np.full((60, 80, 3), 90, np.uint8)
    options = RequestOptions(annotated=True, classes=("green",))
    fields = result_fields(OBJECTS, labels=LABELS, options=options, picture_of=lambda: picture)
    with Image.open(io.BytesIO(base64.b64decode(fields["annotated_jpeg"]))) as opened:
        assert np.abs(np.asarray(opened).astype(int) - 90).max() <= 1
