"""Augmentation moves boxes, masks and pixels together, and is a pure function of its seed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cvforge.data.augment import ClassificationAugment, DetectionAugment, SegmentationAugment, visible_boxes
from cvforge.data.random_frame import FrameRange, random_view, warp_boxes, warp_class_map, warp_image
from cvforge.data.types import Sample
from cvforge_edge.types import ClassLabel, Detections, SegmentationMap

SEEDS = st.integers(0, 2**63 - 1)


def truth_of(*boxes) -> Detections:
    count = len(boxes)
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4), np.ones(count, np.float32), np.arange(count, dtype=np.int64)
    )


def scene(box: tuple[int, int, int, int], *, size_hw: tuple[int, int] = (120, 160)) -> np.ndarray:
    """A black image with one white rectangle."""
    image = np.zeros((*size_hw, 3), np.uint8)
    x1, y1, x2, y2 = box
    image[y1:y2, x1:x2] = 255
    return image


def bright_box(image: np.ndarray) -> list[float]:
    rows, columns = np.nonzero(image > 127)
    return [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


@settings(max_examples=80, deadline=None)
@given(
    seed=SEEDS,
    resize=st.sampled_from(["letterbox", "stretch", "center_crop"]),
    flips=st.tuples(st.sampled_from([0.0, 1.0]), st.sampled_from([0.0, 1.0])),
)
def test_boxes_follow_their_pixels_through_any_view(seed, resize, flips):
    frame = FrameRange(
        (96, 128),
        resize=resize,
        scale_range=(0.5, 1.6),
        aspect_range=(0.8, 1.25),
        translate=0.1,
        horizontal_flip=flips[0],
        vertical_flip=flips[1],
    )
    box = (40, 30, 100, 90)
    matrix = random_view(np.random.default_rng(seed), (120, 160), frame)
    image = warp_image(scene(box), matrix, size_hw=frame.size_hw, fill=0)[..., 0]
    seen = visible_boxes(truth_of(box), matrix, size_hw=frame.size_hw, min_visibility=0.2)
    if len(seen):
        assert np.allclose(seen.boxes_xyxy[0], bright_box(image), atol=1.01)


@settings(max_examples=60, deadline=None)
@given(seed=SEEDS, rotate_deg=st.sampled_from([0.0, 30.0]))
def test_masks_follow_their_pixels_and_are_void_outside_the_image(seed, rotate_deg):
    frame = FrameRange((96, 128), scale_range=(0.5, 1.8), rotate_deg=rotate_deg, horizontal_flip=0.5)
    matrix = random_view(np.random.default_rng(seed), (120, 160), frame)
    white = warp_image(np.full((120, 160, 3), 255, np.uint8), matrix, size_hw=frame.size_hw, fill=0)[..., 0]
    image = warp_image(scene((40, 30, 100, 90)), matrix, size_hw=frame.size_hw, fill=0)[..., 0]
    class_map = (scene((40, 30, 100, 90))[..., 0] > 0).astype(np.uint8)
    moved = warp_class_map(class_map, matrix, size_hw=frame.size_hw)
    inside, clear = white == 255, (image == 0) | (image == 255)
    assert np.mean((moved == 255) == (white < 128)) > 0.99
    assert np.mean((moved == 1)[inside & clear] == (image > 127)[inside & clear]) > 0.995


def test_a_view_of_scale_one_without_flips_is_what_preprocessing_does():
    frame = FrameRange((96, 128))
    matrix = random_view(np.random.default_rng(0), (120, 160), frame)
    assert np.allclose(matrix, [[0.8, 0, 0], [0, 0.8, 0]])


def test_a_letterboxed_class_image_is_seen_whole_and_in_proportion():
    augment = ClassificationAugment((40, 40), resize="letterbox", scale_range=(1, 1), operations=0, erase=0)
    image = np.full((20, 10, 3), 255, np.uint8)
    for seed in range(4):
        seen = augment(Sample(image, ClassLabel(0), "x"), seed=seed).image_bgr.astype(int)
        columns = seen.mean(axis=(0, 2))
        bright = np.flatnonzero(columns > (columns.min() + columns.max()) / 2)
        assert 20 <= len(bright) <= 21  # the view may start between two pixels
        assert bright[-1] - bright[0] == len(bright) - 1


def test_a_turned_box_grows_to_the_box_around_its_corners():
    turn = np.array([[0.0, -1.0, 100.0], [1.0, 0.0, 0.0]])
    assert warp_boxes(np.array([[10, 20, 30, 60]], np.float32), turn).tolist() == [[40, 10, 80, 30]]


def test_boxes_that_are_mostly_cut_off_are_dropped_and_others_clipped():
    shift = np.array([[1.0, 0, -30], [0, 1.0, 0]])
    truth = truth_of((0, 0, 40, 40), (10, 0, 50, 40), (0, 0, 20, 20), (200, 0, 210, 10))
    seen = visible_boxes(truth, shift, size_hw=(100, 100), min_visibility=0.3)
    assert seen.boxes_xyxy.tolist() == [[0, 0, 20, 40]]
    assert seen.class_ids.tolist() == [1]


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS, other=SEEDS)
def test_augmentation_depends_on_its_seed_and_on_nothing_before_it(seed, other):
    image = np.random.default_rng(1).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    for augment, truth in AUGMENTED:
        sample = Sample(image, truth, "x")
        first = augment(sample, seed=seed)
        augment(sample, seed=other)
        again = augment(sample, seed=seed)
        assert np.array_equal(first.image_bgr, again.image_bgr)
        assert np.array_equal(flat(first.truth), flat(again.truth))


AUGMENTED = [
    (DetectionAugment((48, 48), degrade=0.5), truth_of((5, 5, 40, 40), (50, 20, 70, 55))),
    (ClassificationAugment((48, 48), erase=0.5, operations=2, degrade=0.5), ClassLabel(3)),
    (ClassificationAugment((48, 48), resize="letterbox", scale_range=(0.5, 2.0)), ClassLabel(3)),
    (SegmentationAugment((48, 48)), SegmentationMap(np.arange(4800, dtype=np.uint8).reshape(60, 80) % 5)),
]


def flat(truth) -> np.ndarray:
    if isinstance(truth, Detections):
        return np.concatenate([truth.boxes_xyxy.reshape(-1), truth.class_ids])
    return truth.class_map if isinstance(truth, SegmentationMap) else np.array([truth.class_id])


@pytest.mark.parametrize("number", range(len(AUGMENTED)))
def test_every_augmentation_gives_its_size_changes_the_image_and_leaves_its_input_alone(number):
    augment, truth = AUGMENTED[number]
    image = np.random.default_rng(1).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    image.flags.writeable = False
    results = [augment(Sample(image, truth, "x"), seed=seed) for seed in range(4)]
    assert {result.image_bgr.shape for result in results} == {(48, 48, 3)}
    assert all(result.image_id == "x" for result in results)
    assert len({result.image_bgr.tobytes() for result in results}) == 4


def test_detection_views_nearly_always_show_a_box_of_their_image():
    augment = DetectionAugment((64, 64), scale_range=(1.0, 3.0))
    sample = Sample(np.zeros((100, 100, 3), np.uint8), truth_of((5, 5, 30, 30)), "x")
    shown = [len(augment(sample, seed=seed).truth) for seed in range(100)]
    assert sum(shown) >= 70  # of single views about a third does


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"scale_range": (2.0, 1.0)}, "scale_range"),
        ({"horizontal_flip": 1.5}, "horizontal_flip"),
        ({"resize": "crop"}, "resize: found 'crop', accepted letterbox"),
        ({"brightness": -0.1}, "brightness"),
        ({"min_visibility": 2}, "min_visibility"),
    ],
)
def test_a_knob_out_of_range_is_named(options, words):
    with pytest.raises(ValueError, match=words):
        DetectionAugment((64, 64), **options)
