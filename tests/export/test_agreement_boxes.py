"""Agreement of boxes: pairs made by hand, and by people who are not us."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from torchvision.ops import box_iou

from cvforge.export.agreement.boxes import BoxAgreement, BoxCounter
from cvforge.export.agreement.pairs import pair_boxes
from cvforge_edge.types import Detections

LABELS = ("red", "green", "blue")
THRESHOLD = 0.3
Row = tuple[float, float, float, float, float, int]


def detections(*rows: Row) -> Detections:
    """Each row: x1 y1 x2 y2 score class."""
    table = np.array(rows, np.float64).reshape(-1, 6)
    return Detections(table[:, :4].astype(np.float32), table[:, 4].astype(np.float32), table[:, 5].astype(np.int64))


def compare(*images: tuple[list[Row], list[Row]]) -> BoxAgreement:
    counter = BoxCounter(LABELS, THRESHOLD)
    for expected, found in images:
        counter.add(detections(*expected), detections(*found))
    return counter.agreement()


def test_a_copy_agrees_in_everything() -> None:
    rows = [(0, 0, 10, 10, 0.9, 0), (1, 1, 10, 10, 0.8, 0), (50, 50, 60, 60, 0.7, 2)]
    found = compare((rows, rows), ([], []))
    assert (found.images, found.expected, found.found, found.matched) == (2, 3, 3, 3)
    assert (found.iou_mean, found.iou_low, found.score_mean, found.score_max, found.score_shift) == (1, 1, 0, 0, 0)
    assert found.cells() == ("3 of 3", "0 of 3", "1.000", "1.000", "0.0000", "0.0000")
    assert found.hint() is not None and "what a device reports hardly changed" in found.hint()


def test_shares_overlaps_and_score_differences_are_those_of_the_boxes_of_both() -> None:
    expected = [(0, 0, 10, 10, 0.9, 0), (20, 0, 30, 10, 0.5, 1), (40, 0, 50, 10, 0.75, 1), (60, 0, 70, 10, 0.4, 2)]
    shifted = [(0, 2, 10, 12, 0.5, 0), (20, 0, 30, 10, 0.75, 1), (200, 200, 210, 210, 0.9, 2)]
    found = compare((expected, shifted))
    assert (found.matched, found.missing, found.extra) == (2, 2, 1)
    assert found.iou_mean == pytest.approx((8 / 12 + 1) / 2)
    assert found.iou_low == pytest.approx(8 / 12 + 0.05 * (1 - 8 / 12))
    assert found.score_mean == pytest.approx((0.4 + 0.25) / 2)
    assert found.score_max == pytest.approx(0.4)
    assert found.score_shift == pytest.approx((-0.4 + 0.25) / 2)
    value = found.to_value()
    assert value["found_again"] == 0.5
    assert value["without_partner"] == pytest.approx(1 / 3, abs=1e-6)
    assert (value["checkpoint_boxes"], value["boxes"], value["iou_mean"]) == (4, 3, 0.833333)
    assert found.summary() == (
        "on 1 images 2 of 4 boxes of the checkpoint are missing, 1 of 3 boxes have no partner; pairs overlap by IoU 0.833 "
        "(5th percentile 0.683); scores differ by 0.325 on average and up to 0.400 (mean shift -0.075)"
    )


def test_boxes_pair_from_an_overlap_of_a_half_and_only_within_a_class() -> None:
    half = compare(([(0, 0, 10, 10, 0.9, 0)], [(0, 0, 10, 5, 0.9, 0)]))
    less = compare(([(0, 0, 10, 10, 0.9, 0)], [(0, 0, 10, 4.9, 0.9, 0)]))
    other = compare(([(0, 0, 10, 10, 0.9, 0)], [(0, 0, 10, 10, 0.9, 1)]))
    assert (half.matched, less.matched, other.matched) == (1, 0, 0)


def test_a_box_is_paired_with_its_copy_and_not_with_a_neighbour_of_higher_score() -> None:
    expected = detections((0, 0, 10, 10, 0.5, 0), (0, 3, 10, 13, 0.9, 0))
    found = detections((0, 3, 10, 13, 0.6, 0), (0, 0, 10, 10, 0.95, 0))
    rows, columns = pair_boxes(expected, found)
    assert sorted(zip(rows.tolist(), columns.tolist(), strict=True)) == [(0, 1), (1, 0)]
    alone = detections((0, 3, 10, 13, 0.6, 0))
    rows, columns = pair_boxes(expected, alone)
    assert (rows.tolist(), columns.tolist()) == ([1], [0])


def test_doubles_in_one_place_are_paired_by_their_scores() -> None:
    expected = detections((0, 0, 10, 10, 0.9, 0), (0, 0, 10, 10, 0.4, 0))
    found = detections((0, 0, 10, 10, 0.42, 0), (0, 0, 10, 10, 0.88, 0))
    rows, columns = pair_boxes(expected, found)
    assert sorted(zip(rows.tolist(), columns.tolist(), strict=True)) == [(0, 1), (1, 0)]


def test_nothing_on_either_side_is_no_error_and_has_no_shares() -> None:
    found = compare(([], []))
    assert (found.missing, found.extra, found.iou_mean, found.score_max) == (0, 0, None, None)
    assert found.to_value() == {"images": 1, "checkpoint_boxes": 0, "boxes": 0}
    assert found.cells() == ("0 of 0", "0 of 0", "", "", "", "")
    assert found.hint() is None
    assert compare(([(0, 0, 9, 9, 0.9, 0)], [])).missing == 1
    assert compare(([], [(0, 0, 9, 9, 0.9, 0)])).extra == 1


def test_a_box_below_the_threshold_is_not_reported_and_explains_why_one_is_missing() -> None:
    box = (0, 0, 10, 10)
    sank = compare(([(*box, 0.35, 0)], [(*box, 0.29, 0)]))
    assert (sank.expected, sank.found, sank.missing, sank.faint, sank.extra_faint) == (1, 0, 1, 1, 0)
    assert "1 of 1 boxes of the checkpoint are missing (1 score below the threshold of 0.3)" in sank.summary()
    assert (sank.to_value()["missing_faint"], sank.to_value()["missing_relabelled"]) == (1.0, 0.0)
    assert sank.hint() is not None
    assert "with --score-threshold 0.15 a device reports 1 of them" in sank.hint()
    rose = compare(([(*box, 0.29, 0)], [(*box, 0.35, 0)]))
    assert (rose.missing, rose.extra, rose.extra_faint) == (0, 1, 1)
    assert rose.to_value()["extra_faint"] == 1.0
    assert "missing_faint" not in rose.to_value()
    at = compare(([(*box, np.float32(0.3), 0)], [(*box, np.float32(0.3), 0)]))
    assert at.matched == 1


def test_boxes_that_come_and_go_at_the_threshold_are_noise_and_no_loss_of_score() -> None:
    low, high, place, other = 0.29, 0.31, (0, 0, 10, 10), (50, 50, 60, 60)
    found = compare(([(*place, high, 0), (*other, low, 0)], [(*place, low, 0), (*other, high, 0)]))
    assert (found.missing, found.faint, found.extra, found.extra_faint) == (1, 1, 1, 1)
    assert found.hint() == (
        "boxes near the score threshold of 0.3 come (1) and go (1): scores became noisier rather than lower"
    )


def test_one_box_of_many_that_changes_its_class_is_no_sign_of_another_order_of_labels() -> None:
    copies = [(20.0 * k, 0.0, 20.0 * k + 10, 10.0, 0.9, 0) for k in range(1, 20)]
    found = compare(([(0, 0, 10, 10, 0.9, 0), *copies], [(0, 0, 10, 10, 0.9, 1), *copies]))
    assert (found.expected, found.missing, found.relabelled) == (20, 1, 1)
    assert found.hint() is None


def test_a_box_of_another_class_in_the_same_place_is_relabelled_and_the_most_frequent_change_is_named() -> None:
    place = (0, 0, 10, 10)
    images = [([(*place, 0.9, 0)], [(*place, 0.9, 2), (*place, 0.2, 0)])] * 2
    images.append(([(*place, 0.9, 1), (50, 50, 60, 60, 0.9, 1)], [(*place, 0.9, 0)]))
    found = compare(*images)
    assert (found.missing, found.relabelled, found.faint) == (4, 3, 0)
    assert "(3 have another class, most often 'red' became 'blue' (2 times))" in found.summary()
    assert found.hint() is not None and "compare the order of the labels" in found.hint()


def test_moved_boxes_are_said_to_have_moved() -> None:
    found = compare(([(0, 0, 10, 10, 0.9, 0)], [(0, 2, 10, 12, 0.9, 0)]))
    assert found.hint() == "boxes moved: look at the layers that only output 'boxes' depends on"


def test_pairs_are_those_of_the_optimal_assignment_and_overlaps_those_of_torchvision() -> None:
    generator = np.random.default_rng(3)
    corners = generator.uniform(0, 600, (200, 2))
    boxes = np.concatenate((corners, corners + generator.uniform(20, 120, (200, 2))), axis=1)
    classes = generator.integers(0, 3, 200)
    order = generator.permutation(200)[:180]
    moved = (boxes + generator.normal(0, 1.5, boxes.shape))[order]
    expected = detections(*np.column_stack((boxes, np.full(200, 0.9), classes)).tolist())
    found = detections(*np.column_stack((moved, generator.uniform(0.5, 1, 180), classes[order])).tolist())
    iou = box_iou(torch.from_numpy(expected.boxes_xyxy), torch.from_numpy(found.boxes_xyxy)).numpy()
    value = np.where((iou >= 0.5) & (classes[:, None] == classes[order][None, :]), iou, 0.0)
    best_rows, best_columns = linear_sum_assignment(-value)
    real = value[best_rows, best_columns] > 0
    rows, columns = pair_boxes(expected, found)
    assert set(zip(rows.tolist(), columns.tolist(), strict=True)) == set(
        zip(best_rows[real].tolist(), best_columns[real].tolist(), strict=True)
    )
    counter = BoxCounter(LABELS, THRESHOLD)
    counter.add(expected, found)
    agreement = counter.agreement()
    overlaps = value[best_rows[real], best_columns[real]]
    assert agreement.matched == len(overlaps) > 170
    assert agreement.iou_mean == pytest.approx(overlaps.mean(), abs=1e-6)
    assert agreement.iou_low == pytest.approx(np.percentile(overlaps, 5), abs=1e-6)
