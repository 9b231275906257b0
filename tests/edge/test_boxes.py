"""Overlap and suppression of boxes, by hand and against torchvision."""

from __future__ import annotations

import numpy as np
import pytest

from cvforge_edge.boxes import FIRST_BLOCK, box_areas, iou_matrix, nms, overlapping


def boxes(*rows: tuple[float, float, float, float]) -> np.ndarray:
    return np.array(rows, np.float32).reshape(-1, 4)


def test_iou_of_equal_touching_nested_and_half_overlapping_boxes() -> None:
    a = boxes((0, 0, 10, 10))
    b = boxes((0, 0, 10, 10), (10, 0, 20, 10), (0, 0, 5, 5), (5, 0, 15, 10), (100, 100, 110, 110))
    np.testing.assert_allclose(iou_matrix(a, b), [[1, 0, 0.25, 1 / 3, 0]], rtol=1e-6)


def test_boxes_without_area_overlap_nothing_and_make_no_warning() -> None:
    point, turned = boxes((3, 3, 3, 3)), boxes((9, 9, 1, 1))
    assert box_areas(turned).tolist() == [0]
    assert iou_matrix(point, np.concatenate([point, turned, boxes((0, 0, 9, 9))])).tolist() == [[0, 0, 0]]


def test_iou_matrix_of_nothing_is_empty() -> None:
    assert iou_matrix(boxes(), boxes((0, 0, 1, 1))).shape == (0, 1)


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.5, 0.6, 0.7, 1.0])
def test_overlapping_says_what_the_quotient_says_also_where_boxes_lie_on_a_grid(threshold) -> None:
    random = np.random.default_rng(0)
    corners, sides = random.integers(0, 12, (400, 2)), random.integers(0, 12, (400, 2))  # many equal overlaps
    grid = np.hstack([corners, corners + sides]).astype(np.float32)
    expected = iou_matrix(grid, grid[:100]) > np.float32(threshold)
    np.testing.assert_array_equal(overlapping(grid, grid[:100], iou_threshold=threshold), expected)


def test_nms_keeps_the_stronger_of_two_overlapping_boxes_of_one_class() -> None:
    candidates = boxes((0, 0, 10, 10), (1, 0, 11, 10), (50, 50, 60, 60))
    keep = nms(
        candidates, np.array([0.5, 0.9, 0.7], np.float32), np.zeros(3, np.int64), iou_threshold=0.5, max_detections=10
    )
    assert keep.tolist() == [1, 2]
    assert keep.dtype == np.int64


def test_nms_leaves_other_classes_alone() -> None:
    candidates = boxes((0, 0, 10, 10), (0, 0, 10, 10))
    keep = nms(candidates, np.array([0.5, 0.9], np.float32), np.array([3, 4]), iou_threshold=0.5, max_detections=10)
    assert keep.tolist() == [1, 0]


def test_nms_suppresses_above_the_threshold_and_not_at_it() -> None:
    candidates = boxes((0, 0, 10, 10), (0, 0, 10, 5))  # overlap is exactly one half
    scores, class_ids = np.array([0.9, 0.8], np.float32), np.zeros(2, np.int64)
    assert nms(candidates, scores, class_ids, iou_threshold=0.5, max_detections=9).tolist() == [0, 1]
    assert nms(candidates, scores, class_ids, iou_threshold=0.49, max_detections=9).tolist() == [0]


def test_a_suppressed_box_suppresses_nothing() -> None:
    chain = boxes((0, 0, 10, 10), (4, 0, 14, 10), (8, 0, 18, 10))  # neighbours overlap by 3/7, the ends by 1/9
    scores = np.array([0.9, 0.8, 0.7], np.float32)
    assert nms(chain, scores, np.zeros(3, np.int64), iou_threshold=0.3, max_detections=9).tolist() == [0, 2]


def test_nms_visits_equal_scores_in_the_given_order_and_stops_at_the_limit() -> None:
    candidates = boxes(*[(20 * i, 0, 20 * i + 10, 10) for i in range(5)])
    scores, class_ids = np.full(5, 0.5, np.float32), np.zeros(5, np.int64)
    assert nms(candidates, scores, class_ids, iou_threshold=0.5, max_detections=3).tolist() == [0, 1, 2]


def test_nms_of_nothing_is_nothing() -> None:
    keep = nms(boxes(), np.zeros(0, np.float32), np.zeros(0, np.int64), iou_threshold=0.5, max_detections=5)
    assert keep.tolist() == [] and keep.dtype == np.int64


def clustered(seed: int, count: int, classes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    centres = random.uniform(0, 500, (max(1, count // 12), 2))
    corner = centres[random.integers(0, len(centres), count)] + random.normal(0, 6, (count, 2))
    size = random.uniform(15, 60, (count, 2))
    scores = random.random(count).astype(np.float32).round(2)  # rounded: many equal scores
    return np.hstack([corner, corner + size]).astype(np.float32), scores, random.integers(0, classes, count)


def test_nms_is_its_definition_across_blocks() -> None:
    candidates, scores, class_ids = clustered(11, 5 * FIRST_BLOCK, classes=2)
    overlap = iou_matrix(candidates, candidates)
    expected: list[int] = []
    for index in np.argsort(-scores, kind="stable"):
        if all(class_ids[index] != class_ids[kept] or overlap[kept, index] <= 0.4 for kept in expected):
            expected.append(int(index))
    found = nms(candidates, scores, class_ids, iou_threshold=0.4, max_detections=len(scores))
    assert found.tolist() == expected
    assert 50 < len(expected) < len(scores) - 100  # both branches are taken many times


@pytest.mark.parametrize("count", [1, 2, FIRST_BLOCK, FIRST_BLOCK + 1, 700, 2500])
@pytest.mark.parametrize("iou_threshold", [0.0, 0.45, 0.7, 1.0])
def test_nms_equals_torchvision(count: int, iou_threshold: float) -> None:
    torch = pytest.importorskip("torch")
    ops = pytest.importorskip("torchvision.ops")
    candidates, scores, class_ids = clustered(count, count, classes=5)
    found = nms(candidates, scores, class_ids, iou_threshold=iou_threshold, max_detections=count)
    # batched_nms moves classes apart by adding to coordinates, which rounds; class by class it is exact.
    expected: list[int] = []
    for class_id in np.unique(class_ids):
        members = np.flatnonzero(class_ids == class_id)
        keep = ops.nms(torch.from_numpy(candidates[members]), torch.from_numpy(scores[members]), iou_threshold)
        expected += members[keep.numpy()].tolist()
    assert sorted(found.tolist()) == sorted(expected)
    assert (np.diff(scores[found]) <= 0).all()


def test_nms_equals_torchvisions_batched_nms_on_whole_coordinates() -> None:
    torch = pytest.importorskip("torch")
    ops = pytest.importorskip("torchvision.ops")
    candidates, scores, class_ids = clustered(7, 900, classes=5)
    candidates = candidates.round()  # whole numbers: moving them apart is exact
    scores = np.random.default_rng(1).permutation(900).astype(np.float32) / 900
    tensors = (torch.from_numpy(candidates), torch.from_numpy(scores), torch.from_numpy(class_ids))
    expected = ops.batched_nms(*tensors, 0.5).tolist()
    assert nms(candidates, scores, class_ids, iou_threshold=0.5, max_detections=900).tolist() == expected
    assert nms(candidates, scores, class_ids, iou_threshold=0.5, max_detections=37).tolist() == expected[:37]
