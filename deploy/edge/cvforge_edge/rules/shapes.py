"""Where points lie: on which side of a line, whether a step crosses it, inside or outside of a polygon."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from cvforge_edge.rules.rule_types import Point
from cvforge_edge.types import Detections

if TYPE_CHECKING:
    import numpy.typing as npt


def anchor_points(detections: Detections, anchor: str) -> npt.NDArray[np.float64]:
    """(n, 2) x and y of the point of each box that counts, in pixels of the picture; `anchor` is one of `ANCHORS`."""
    boxes = detections.boxes_xyxy.astype(np.float64)
    y = boxes[:, 3] if anchor == "bottom" else (boxes[:, 1] + boxes[:, 3]) / 2
    return np.stack([(boxes[:, 0] + boxes[:, 2]) / 2, y], axis=1)


def in_pixels(points: Sequence[Point], image_hw: tuple[int, ...]) -> list[Point]:
    """Points given as fractions of a picture, in its pixels."""
    return [(x * image_hw[1], y * image_hw[0]) for x, y in points]


def side_of(line: Sequence[Point], point: Point) -> float:
    """Distance of a point from the endless line through two points; positive on the right, seen from first to second.

    Right as in the picture, where y grows downwards.

    >>> side_of([(0, 10), (0, 0)], (3, 5))  # a line upwards, a point to its right
    3.0
    """
    (x1, y1), (x2, y2) = line
    length = float(np.hypot(x2 - x1, y2 - y1))
    return ((x2 - x1) * (point[1] - y1) - (y2 - y1) * (point[0] - x1)) / length


def crosses(line: Sequence[Point], before: Point, after: Point) -> bool:
    """Whether the straight way between two points on different sides of a line passes between the line's ends."""
    first, second = side_of(line, before), side_of(line, after)
    if first == second:
        return False
    part = first / (first - second)
    x, y = before[0] + part * (after[0] - before[0]), before[1] + part * (after[1] - before[1])
    (x1, y1), (x2, y2) = line
    along = ((x - x1) * (x2 - x1) + (y - y1) * (y2 - y1)) / ((x2 - x1) ** 2 + (y2 - y1) ** 2)
    return 0 <= along <= 1


def inside(polygon: Sequence[Point], point: Point) -> bool:
    """Whether a point lies in a polygon: a ray from it crosses the edges an odd number of times.

    Source: Shimrat 1962, Algorithm 112: Position of point relative to polygon. Points on an edge may go either way, but of
    two polygons that share an edge they belong to exactly one.
    """
    x, y = point
    odd = False
    for (x1, y1), (x2, y2) in zip(polygon, [*polygon[1:], polygon[0]], strict=True):
        if (y1 > y) != (y2 > y) and x < x1 + (y - y1) / (y2 - y1) * (x2 - x1):
            odd = not odd
    return odd
