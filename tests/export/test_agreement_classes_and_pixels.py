"""Agreement of classes and of class maps: by hand, and by scikit-learn."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, confusion_matrix, jaccard_score

from cvforge.export.agreement.answers import Answers
from cvforge.export.agreement.classes import ClassAgreement, ClassCounter
from cvforge.export.agreement.pixels import PixelCounter
from cvforge_edge.types import ClassScores, Detections, SegmentationMap

LABELS = ("red", "green", "blue")


def compare_probabilities(*pairs: tuple[list[float], list[float]]) -> ClassAgreement:
    counter = ClassCounter(LABELS)
    for expected, found in pairs:
        counter.add(ClassScores(np.array(expected, np.float32)), ClassScores(np.array(found, np.float32)))
    return counter.agreement()


def test_strongest_classes_and_probabilities_are_compared_image_by_image() -> None:
    found = compare_probabilities(
        ([0.75, 0.25, 0.0], [0.5, 0.25, 0.25]),
        ([0.5, 0.4375, 0.0625], [0.4375, 0.5, 0.0625]),
        ([0.0, 1.0, 0.0], [0.0, 0.0, 1.0]),
        ([0.5, 0.4375, 0.0625], [0.25, 0.75, 0.0]),
    )
    assert (found.images, found.same, found.changed, found.close) == (4, 1, 3, 2)
    assert found.difference_mean == pytest.approx((0.5 + 0.125 + 2.0 + 0.625) / 12)
    assert found.difference_max == 1.0
    assert found.cells() == ("1 of 4", "0.2708", "1.0000")
    assert found.to_value() == {
        "images": 4,
        "same_class": 0.25,
        "probability_difference_mean": 0.270833,
        "probability_difference_max": 1.0,
    }
    assert found.summary() == (
        "3 of 4 images have another class (most often 'red' became 'green' (2 times); the checkpoint was nearly undecided, "
        "within 0.1, about 2 of them); probabilities differ by 0.2708 on average and up to 1.000"
    )
    assert found.hint() is not None and "each counts 0.2500 of top-1 here" in found.hint()


def test_a_clear_change_of_class_is_not_put_down_to_rounding() -> None:
    found = compare_probabilities(([0.9, 0.1, 0.0], [0.1, 0.9, 0.0]))
    assert (found.close, found.hint()) == (0, None)


def test_equal_probabilities_agree() -> None:
    found = compare_probabilities(([0.5, 0.5, 0.0], [0.5, 0.5, 0.0]))
    assert found.cells() == ("1 of 1", "0.0000", "0.0000")
    assert found.hint() is None


def random_maps(images: int, *, classes: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Maps of several sizes, and copies with a tenth of the pixels drawn anew."""
    generator = np.random.default_rng(5)
    maps = []
    for number in range(images):
        expected = generator.integers(0, classes, (20 + number, 30)).astype(np.uint8)
        redrawn = generator.integers(0, classes, expected.shape).astype(np.uint8)
        maps.append((expected, np.where(generator.random(expected.shape) < 0.1, redrawn, expected)))
    return maps


def test_maps_are_compared_as_scikit_learn_does_it() -> None:
    maps = random_maps(6, classes=3)
    counter = PixelCounter(LABELS)
    for expected, found in maps:
        counter.add(SegmentationMap(expected), SegmentationMap(found))
    agreement = counter.agreement()
    true, predicted = (np.concatenate([pair[side].ravel() for pair in maps]) for side in (0, 1))
    ious = jaccard_score(true, predicted, average=None)
    assert agreement.same == pytest.approx(accuracy_score(true, predicted))
    assert agreement.mean_iou == pytest.approx(ious.mean())
    assert (agreement.lowest_label, agreement.lowest_iou) == (LABELS[ious.argmin()], pytest.approx(ious.min()))
    assert agreement.worst_image == pytest.approx(min(accuracy_score(a.ravel(), b.ravel()) for a, b in maps))
    matrix = confusion_matrix(true, predicted)
    np.fill_diagonal(matrix, 0)
    row, column = np.unravel_index(matrix.argmax(), matrix.shape)
    assert agreement.confused is not None
    assert (agreement.confused.expected, agreement.confused.found) == (LABELS[row], LABELS[column])
    assert agreement.confused.count == matrix.max()


def test_only_equal_maps_are_said_to_be_equal_in_all_pixels() -> None:
    expected = np.zeros((200, 200), np.uint8)
    expected[:, 100:] = 1
    found = expected.copy()
    counter = PixelCounter(LABELS)
    counter.add(SegmentationMap(expected), SegmentationMap(found))
    assert counter.agreement().cells() == ("100.00 %", "100.00 %", "1.0000", "red 1.000")
    found[0, 0] = 1
    counter.add(SegmentationMap(expected), SegmentationMap(found))
    agreement = counter.agreement()
    assert agreement.cells()[:2] == ("99.99 %", "99.99 %")
    assert "99.99 % of the pixels have the checkpoint's class, 99.99 % in the worst of 2 images" in agreement.summary()
    assert "(most often 'red' became 'green' (1 times))" in agreement.summary()
    assert agreement.to_value()["same_pixels"] == 0.999988


def test_kept_answers_come_back_as_they_were() -> None:
    stripes = np.repeat(np.arange(8, dtype=np.uint8), 60)[None, :].repeat(360, axis=0)
    given = [SegmentationMap(stripes), Detections.empty(), SegmentationMap(stripes[::2, ::-3])]
    answers = Answers()
    for prediction in given:
        answers.add(prediction)
    assert len(answers) == 3
    first, boxes, last = answers
    assert boxes is given[1]
    for kept, expected in ((first, given[0]), (last, given[2])):
        assert isinstance(kept, SegmentationMap) and isinstance(expected, SegmentationMap)
        np.testing.assert_array_equal(kept.class_map, expected.class_map)


def test_kept_maps_take_a_small_part_of_their_memory() -> None:
    side, images = 400, 20
    answers = Answers()
    tracemalloc.start()
    try:
        for number in range(images):
            class_map = np.zeros((side, side), np.uint8)
            class_map[number : number + 100, 100:300] = 1
            answers.add(SegmentationMap(class_map))
        del class_map
        assert tracemalloc.get_traced_memory()[0] < 0.05 * images * side * side
    finally:
        tracemalloc.stop()
