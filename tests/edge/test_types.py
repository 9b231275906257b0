"""Central types refuse what does not fit, and say what would."""

from __future__ import annotations

import numpy as np
import pytest

from cvforge_edge.errors import SpecError
from cvforge_edge.types import ClassScores, Detections, SegmentationMap


def detections(count: int, **changes: object) -> Detections:
    arguments: dict = {
        "boxes_xyxy": np.arange(4 * count, dtype=np.float32).reshape(count, 4),
        "scores": np.linspace(1, 0.5, count, dtype=np.float32),
        "class_ids": np.arange(count),
    }
    return Detections(**{**arguments, **changes})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"boxes_xyxy": np.zeros((2, 5), np.float32)},
            r"boxes_xyxy: found \(2, 5\) float32, expected \(2, 4\) float32",
        ),
        ({"boxes_xyxy": np.zeros((2, 4))}, "boxes_xyxy: found .* float64, expected .* float32"),
        ({"boxes_xyxy": [[0, 0, 1, 1]]}, "boxes_xyxy: found list"),
        ({"boxes_xyxy": np.float32(3)}, "boxes_xyxy: found float32, expected an array"),
        ({"scores": np.zeros(3, np.float32)}, r"scores: found \(3,\)"),
        ({"class_ids": np.zeros(2, np.int32)}, "class_ids: found .* int32, expected .* int64"),
        ({"masks": np.zeros((2, 4), bool)}, r"masks: found \(2, 4\) bool, expected \(2, height, width\) bool"),
        ({"masks": np.zeros((3, 4, 4), bool)}, r"masks: found \(3, 4, 4\) bool"),
        ({"masks": np.zeros((2, 4, 4), np.uint8)}, "masks: found .* uint8"),
        ({"track_ids": np.zeros(2)}, "track_ids"),
        ({"is_crowd": np.zeros(2)}, "is_crowd"),
        ({"areas": np.zeros(2)}, "areas"),
    ],
)
def test_detections_refuse_arrays_that_do_not_fit(changes: dict, words: str) -> None:
    with pytest.raises(SpecError, match=words):
        detections(2, **changes)


def test_detections_select_keeps_every_column_in_the_order_asked_for() -> None:
    many = detections(
        3,
        masks=np.stack([np.full((2, 2), i == 1) for i in range(3)]),
        track_ids=np.array([7, 8, 9]),
        is_crowd=np.array([True, False, False]),
        areas=np.array([1, 2, 3], np.float32),
    )
    chosen = many.select(np.array([2, 0]))
    assert len(chosen) == 2
    assert chosen.boxes_xyxy.tolist() == [[8, 9, 10, 11], [0, 1, 2, 3]]
    assert chosen.scores.tolist() == [0.5, 1.0]
    assert chosen.class_ids.tolist() == [2, 0]
    assert chosen.masks is not None and not chosen.masks.any()
    assert chosen.track_ids is not None and chosen.track_ids.tolist() == [9, 7]
    assert chosen.is_crowd is not None and chosen.is_crowd.tolist() == [False, True]
    assert chosen.areas is not None and chosen.areas.tolist() == [3, 1]


def test_an_image_without_objects_is_empty_detections() -> None:
    assert len(Detections.empty()) == 0
    assert len(detections(3).select(np.zeros(3, bool))) == 0


def test_top_orders_by_probability_and_equal_ones_by_class_id() -> None:
    scores = ClassScores(np.array([0.2, 0.4, 0.4, 0.0], np.float32))
    assert [class_id for class_id, _ in scores.top(3)] == [1, 2, 0]
    assert scores.top(1)[0][1] == pytest.approx(0.4)
    assert len(scores.top(9)) == 4


@pytest.mark.parametrize("probs", [np.zeros((2, 2), np.float32), np.zeros(2), [0.5, 0.5]])
def test_class_scores_are_one_float32_axis(probs: object) -> None:
    with pytest.raises(SpecError, match="probs: found"):
        ClassScores(probs)  # type: ignore[arg-type]


@pytest.mark.parametrize("class_map", [np.zeros((2, 2, 1), np.uint8), np.zeros((2, 2), np.int64)])
def test_a_class_map_has_two_axes_of_uint8(class_map: np.ndarray) -> None:
    with pytest.raises(SpecError, match=r"class_map: found .* expected \(height, width\) uint8"):
        SegmentationMap(class_map)
