"""Confusion matrices against scikit-learn, and the pairing of boxes on hand-made ones."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from cvforge.metrics.confusion import box_confusion, class_confusion, class_rates, largest_confusions, pair_boxes
from cvforge.metrics.records import PixelRecord, make_record
from cvforge.metrics.segmentation import pixel_confusion
from cvforge_edge.types import Detections, SegmentationMap
from metrics.random_boxes import boxes

BACKGROUND = 3


def test_matrix_and_rates_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    true = rng.integers(0, 6, 500)
    predicted = np.where(rng.random(500) < 0.6, true, rng.integers(0, 6, 500))
    matrix = class_confusion(true, predicted, classes=6)
    np.testing.assert_array_equal(matrix, confusion_matrix(true, predicted, labels=range(6)))
    precision, recall, f1, _ = precision_recall_fscore_support(true, predicted, labels=range(6))
    rates = class_rates(matrix)
    np.testing.assert_allclose([rates.precision, rates.recall, rates.f1], [precision, recall, f1])


def test_a_class_that_nothing_is_said_about_has_no_rates() -> None:
    rates = class_rates(np.array([[2, 0, 0], [0, 0, 0], [1, 0, 1]]))
    assert np.isnan([rates.precision[1], rates.recall[1], rates.f1[1]]).all()
    assert rates.recall[2] == 0.5


def test_the_most_frequent_mistakes_come_first() -> None:
    matrix = np.array([[9, 2, 0], [5, 9, 0], [0, 2, 9]])
    assert largest_confusions(matrix, 2) == [(1, 0, 5), (0, 1, 2)]
    assert largest_confusions(matrix, 9) == [(1, 0, 5), (0, 1, 2), (2, 1, 2)]
    assert largest_confusions(np.eye(3, dtype=np.int64), 5) == []


def test_pixels_are_counted_as_by_scikit_learn_and_void_is_left_out() -> None:
    rng = np.random.default_rng(1)
    maps = [(rng.integers(0, 4, (20, 30), np.uint8), rng.integers(0, 4, (20, 30), np.uint8)) for _ in range(3)]
    for true, _ in maps:
        true[rng.random(true.shape) < 0.1] = 255
    records = [make_record(SegmentationMap(predicted), SegmentationMap(true)) for true, predicted in maps]
    found = pixel_confusion([record.pairs for record in records if isinstance(record, PixelRecord)], classes=4)
    true, predicted = (np.concatenate([pair[i].ravel() for pair in maps]) for i in (0, 1))
    scored = true != 255
    np.testing.assert_array_equal(found, confusion_matrix(true[scored], predicted[scored], labels=range(4)))


def confusion(*images: tuple[Detections, Detections], classes: int = BACKGROUND, iou: float = 0.5, score: float = 0.3):
    paired = [(p, t, pair_boxes(p, t, iou_threshold=iou, score_threshold=score)) for p, t in images]
    return box_confusion(paired, classes=classes)


def test_boxes_that_lie_apart_give_the_matrix_of_scikit_learn() -> None:
    """On a grid, where each cell has one object or none and one detection or none, pairing is beyond doubt."""
    rng = np.random.default_rng(2)
    images, true, predicted = [], [], []
    for _ in range(20):
        cells = [(x * 40.0, y * 40.0, x * 40.0 + 30, y * 40.0 + 30) for x in range(4) for y in range(4)]
        here, said, scores = rng.integers(0, 4, 16), rng.integers(0, 4, 16), rng.random(16)
        truth = boxes(*[c for c, k in zip(cells, here, strict=True) if k < 3], class_ids=here[here < 3].tolist())
        found = boxes(
            *[c for c, k in zip(cells, said, strict=True) if k < 3],
            class_ids=said[said < 3].tolist(),
            scores=scores[said < 3].tolist(),
        )
        images.append((found, truth))
        true += here.tolist()
        predicted += np.where(scores.astype(np.float32) >= np.float32(0.3), said, BACKGROUND).tolist()
    expected = confusion_matrix(true, predicted, labels=range(4))
    expected[BACKGROUND, BACKGROUND] = 0  # empty cells are no objects
    np.testing.assert_array_equal(confusion(*images), expected)


def test_the_larger_overlap_wins_whatever_the_scores_say() -> None:
    truth = boxes((0, 0, 10, 10), class_ids=[0])
    found = boxes((0, 0, 10, 8), (0, 0, 10, 10), class_ids=[1, 0], scores=[0.9, 0.4])
    assert confusion((found, truth)).tolist() == [[1, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], [0, 1, 0, 0]]


def test_low_scores_and_small_overlaps_are_misses() -> None:
    truth = boxes((0, 0, 10, 10), (50, 50, 60, 60), class_ids=[0, 1])
    found = boxes((0, 0, 10, 10), (50, 50, 60, 54), class_ids=[0, 1], scores=[0.2, 0.9])
    matrix = confusion((found, truth))
    assert matrix[0, BACKGROUND] == 1  # its detection is below the score threshold
    assert matrix[1, BACKGROUND] == matrix[BACKGROUND, 1] == 1  # an overlap of 0.4
    assert matrix.sum() == 3


def test_detections_inside_a_crowd_are_no_mistakes_and_a_crowd_is_no_object() -> None:
    truth = Detections(
        np.array([[0, 0, 100, 100]], np.float32),
        np.ones(1, np.float32),
        np.array([2]),
        is_crowd=np.array([True]),
    )
    found = boxes((10, 10, 20, 20), (95, 0, 115, 20), class_ids=[2, 2], scores=[0.9, 0.9])
    pairs = pair_boxes(found, truth, iou_threshold=0.5, score_threshold=0.3)
    assert (pairs.pairs.tolist(), pairs.extra.tolist(), pairs.missed.tolist()) == ([], [1], [])


@pytest.mark.parametrize(("found", "true"), [(0, 0), (2, 0), (0, 2)])
def test_empty_sides(found: int, true: int) -> None:
    rows = [(0.0, 0.0, 5.0, 5.0), (20.0, 20.0, 30.0, 30.0)]
    sides = [boxes(*rows[:n], class_ids=[1] * n) for n in (found, true)]
    matrix = confusion((sides[0], sides[1]))
    assert (matrix[BACKGROUND, 1], matrix[1, BACKGROUND], matrix.sum()) == (found, true, found + true)
