"""Generated sets: the same for the same seed, and truths that agree with the pixels."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from cvforge.data.clip import render_clip
from cvforge.data.shapes import SHAPES, PlacedShape, Style, object_map, visible_shares
from cvforge.data.synthetic import ShapesClassification, ShapesDetection, ShapesSegmentation
from cvforge.errors import DataError

PLAIN = Style((200.0, 30.0, 30.0), 0.0, "plain", 0.0, (0.0, 0.0))


def placed(name: str, *, center=(50.0, 40.0), radius=20.0, angle=0.0) -> PlacedShape:
    return PlacedShape(SHAPES.index(name), center, radius, angle_deg=angle, aspect=1.0, style=PLAIN)


@pytest.mark.parametrize("kind", [ShapesDetection, ShapesClassification, ShapesSegmentation])
def test_samples_depend_on_seed_and_index_alone(kind):
    first, again, other = kind(6, (64, 80), seed=1), kind(6, (64, 80), seed=1), kind(6, (64, 80), seed=2)
    later = again[4]
    for index in (0, 4):
        assert np.array_equal(first[index].image_bgr, again[index].image_bgr)
    assert np.array_equal(first[4].image_bgr, later.image_bgr)
    assert not np.array_equal(first[0].image_bgr, first[1].image_bgr)
    assert not np.array_equal(first[0].image_bgr, other[0].image_bgr)
    assert first[0].image_bgr.shape == (64, 80, 3)
    assert first.image_id(0) != other.image_id(0)
    assert first.fingerprint() == again.fingerprint() != other.fingerprint()
    assert len(first) == 6


@pytest.mark.parametrize(
    ("name", "angle", "expected"),
    [
        ("circle", 0, (30, 20, 70, 60)),
        ("square", 0, (35.858, 25.858, 64.142, 54.142)),
        ("square", 45, (30, 20, 70, 60)),
        ("triangle", 0, (32.679, 20, 67.321, 50)),
        ("cross", 0, (31, 21, 69, 59)),
        ("star", 0, (30.979, 20, 69.021, 56.18)),
    ],
)
def test_boxes_fit_the_outlines(name, angle, expected):
    assert placed(name, angle=angle).box_xyxy((100, 100)) == pytest.approx(expected, abs=0.01)


def test_boxes_agree_with_the_painted_objects():
    for name in SHAPES:
        shape = placed(name, center=(52.3, 41.7), radius=17.6, angle=23)
        rows, columns = np.nonzero(object_map([shape], (100, 100)) == 0)
        painted = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        assert painted == pytest.approx(shape.box_xyxy((100, 100)), abs=1.0)


def test_visible_shares_count_what_is_hidden_or_outside():
    low, high = placed("circle"), placed("circle", center=(50.0, 40.0), radius=10.0)
    cut = placed("square", center=(0.0, 80.0), angle=0)
    shares = visible_shares([low, high, cut], (100, 100))
    assert shares == pytest.approx([0.75, 1.0, 0.5], abs=0.06)


def test_every_object_stays_recognisable_and_some_images_are_empty():
    dataset = ShapesDetection(120, (160, 160), seed=3)
    counts = [len(dataset.truth(index)) for index in range(120)]
    assert min(counts) == 0
    assert max(counts) == 6
    for index in range(10):
        assert min(visible_shares(dataset.shapes(index), (160, 160)), default=1.0) >= 0.55
    classes = np.concatenate([dataset.truth(index).class_ids for index in range(120)])
    assert np.bincount(classes, minlength=5).min() >= 40


def test_class_maps_show_the_boxes_of_the_same_scene():
    dataset = ShapesSegmentation(8, (96, 96), seed=5)
    assert dataset.labels[0] == "background"
    for index in range(8):
        shapes = dataset._scenes.shapes(index)
        class_map = dataset[index].truth.class_map
        assert set(np.unique(class_map).tolist()) == {0, *(shape.class_id + 1 for shape in shapes)}


def test_a_clip_is_written_with_its_truth_and_objects_keep_their_track(tmp_path):
    truths = render_clip(tmp_path / "clip.mp4", 12, seed=4, size_hw=(120, 160), objects=3)
    assert truths[0].track_ids.tolist() == [0, 1, 2]
    capture = cv2.VideoCapture(str(tmp_path / "clip.mp4"))
    frames = 0
    while capture.read()[0]:
        frames += 1
    capture.release()
    assert frames == len(truths) == 12
    document = json.loads((tmp_path / "clip.json").read_text())
    assert document["labels"] == list(SHAPES)
    assert len(document["frames"]) == 12
    assert np.allclose(document["frames"][3]["boxes_xyxy"], truths[3].boxes_xyxy, atol=0.01)
    moved = truths[11].boxes_xyxy[0] - truths[0].boxes_xyxy[0]
    assert 0 < np.abs(moved).max() < 60


@pytest.mark.parametrize("options", [{"count": 0}, {"count": 3, "size_hw": (8, 8)}, {"count": 3, "seed": -1}])
def test_arguments_that_make_no_data_set_are_refused(options):
    with pytest.raises(DataError, match="generated data set"):
        ShapesDetection(**options)


def test_an_index_outside_is_refused():
    with pytest.raises(IndexError):
        ShapesDetection(3)[3]
