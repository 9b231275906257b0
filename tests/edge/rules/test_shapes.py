"""Sides, crossings and polygons, the last held against OpenCV's."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from cvforge_edge.rules.shapes import anchor_points, crosses, in_pixels, inside, side_of
from cvforge_edge.types import Detections

UPWARDS = [(10.0, 20.0), (10.0, 0.0)]


def test_points_in_polygons_are_those_that_opencv_finds():
    random = np.random.default_rng(0)
    for _ in range(40):
        polygon = random.uniform(0, 100, (random.integers(3, 9), 2)).astype(np.float32)
        corners = [(float(x), float(y)) for x, y in polygon]
        for point in random.uniform(-10, 110, (50, 2)):
            expected = cv2.pointPolygonTest(polygon[:, None], tuple(map(float, point)), True)
            if abs(expected) > 1e-3:
                assert inside(corners, tuple(point)) == (expected > 0)


def test_a_point_on_a_shared_edge_is_in_one_of_two_zones():
    left, right = [(0, 0), (5, 0), (5, 9), (0, 9)], [(5, 0), (9, 0), (9, 9), (5, 9)]
    assert [inside(left, (5, 4)), inside(right, (5, 4))].count(True) == 1


@pytest.mark.parametrize(("point", "side"), [((13, 5), 3), ((4, 5), -6), ((10, 50), 0)])
def test_the_right_of_a_line_upwards_is_positive(point, side):
    assert side_of(UPWARDS, point) == side


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [((5, 10), (15, 10), True), ((15, 10), (5, 10), True), ((5, 25), (15, 25), False), ((5, 30), (15, 8), True)],
    ids=["through", "back", "past its end", "slanting"],
)
def test_a_step_crosses_only_between_the_ends(before, after, expected):
    assert crosses(UPWARDS, before, after) is expected


def test_anchors_are_the_middle_of_the_lower_edge_or_of_the_box():
    boxes = Detections(np.array([[10, 20, 30, 80]], np.float32), np.ones(1, np.float32), np.zeros(1, np.int64))
    assert anchor_points(boxes, "bottom").tolist() == [[20, 80]]
    assert anchor_points(boxes, "center").tolist() == [[20, 50]]


def test_fractions_become_pixels_width_first():
    assert in_pixels([(0.5, 0.25)], (200, 400, 3)) == [(200, 50)]
