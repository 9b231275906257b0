"""Raw outputs to predictions, with answers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from cvforge_edge.errors import SpecError
from cvforge_edge.postprocess import KINDS, MAX_CANDIDATES, PostprocessSpec, number_of_classes, postprocess
from cvforge_edge.preprocess import Geometry, PreprocessSpec
from cvforge_edge.types import ClassScores, Detections, SegmentationMap, Task

LETTERBOX = PreprocessSpec((40, 40)).geometry((10, 20))  # factor 2, 10 pixels of border above and below
SAME = PreprocessSpec((40, 40)).geometry((40, 40))


def detect(boxes: object, scores: object, geometry: Geometry = SAME, **spec: object) -> Detections:
    outputs = {"boxes": np.array(boxes, np.float32).reshape(-1, 4), "scores": np.array(scores, np.float32)}
    found = postprocess(outputs, PostprocessSpec(**{"kind": "detection_nms", **spec}), geometry)  # type: ignore[arg-type]
    assert isinstance(found, Detections)
    return found


def test_boxes_come_out_in_pixels_of_the_original_by_descending_score() -> None:
    found = detect([[0, 10, 20, 30], [20, 10, 50, 20]], [[0.4, 0.1], [0.1, 0.9]], LETTERBOX)
    assert found.boxes_xyxy.tolist() == [[10, 0, 20, 5], [0, 0, 10, 10]]
    assert found.class_ids.tolist() == [1, 0]
    np.testing.assert_allclose(found.scores, [0.9, 0.4])


def test_a_box_may_be_several_classes() -> None:
    found = detect([[0, 0, 10, 10]], [[0.4, 0.1, 0.8]])
    assert found.class_ids.tolist() == [2, 0]
    assert found.boxes_xyxy.tolist() == [[0, 0, 10, 10]] * 2


def test_the_score_threshold_itself_counts() -> None:
    scores = [[0.3], [0.29999]]
    assert detect([[0, 0, 9, 9], [20, 20, 29, 29]], scores, score_threshold=0.3).boxes_xyxy.tolist() == [[0, 0, 9, 9]]


def test_equal_scores_keep_the_networks_order() -> None:
    boxes = [[0, 0, 9, 9], [10, 0, 19, 9], [20, 0, 29, 9]]
    found = detect(boxes, [[0.5, 0.5], [0.5, 0.7], [0.5, 0.5]])
    assert found.boxes_xyxy[:, 0].tolist() == [10, 0, 0, 10, 20, 20]
    assert found.class_ids.tolist() == [1, 0, 1, 0, 0, 1]


def test_many_equal_scores_keep_the_networks_order_too() -> None:
    boxes = [[2 * i, 0, 2 * i + 1, 1] for i in range(200)]
    geometry = PreprocessSpec((40, 400)).geometry((40, 400))
    found = detect(boxes, [[0.5 + 0.1 * (i % 2)] for i in range(200)], geometry, kind="detection_nms_free")
    assert found.boxes_xyxy[:, 0].tolist() == [*range(2, 400, 4), *range(0, 400, 4)]


def test_overlaps_fall_with_nms_and_stay_without() -> None:
    boxes, scores = [[0, 0, 10, 10], [0, 0, 10, 9]], [[0.9], [0.8]]
    assert len(detect(boxes, scores)) == 1
    assert len(detect(boxes, scores, iou_threshold=0.95)) == 2
    assert len(detect(boxes, scores, kind="detection_nms_free")) == 2


@pytest.mark.parametrize("kind", ["detection_nms", "detection_nms_free"])
def test_max_detections_keeps_the_best(kind: str) -> None:
    boxes = [[4 * i, 0, 4 * i + 3, 3] for i in range(10)]
    found = detect(boxes, [[0.4 + 0.05 * (i * 7 % 10)] for i in range(10)], kind=kind, max_detections=3)
    np.testing.assert_allclose(found.scores, [0.85, 0.8, 0.75])


def test_a_box_that_lies_in_the_border_alone_is_no_object() -> None:
    found = detect([[5, 0, 20, 9], [5, 0, 20, 12], [7, 20, 7, 30]], [[0.9], [0.8], [0.7]], LETTERBOX)
    assert found.boxes_xyxy.tolist() == [[2.5, 0, 10, 1]]


def test_an_image_without_objects_gives_empty_detections() -> None:
    assert len(detect([[0, 0, 9, 9]], [[0.1]])) == 0


def test_more_candidates_than_the_limit_are_cut_to_the_best() -> None:
    count = MAX_CANDIDATES + 500
    scores = np.linspace(0.5, 0.9, count, dtype=np.float32)[:, None]
    boxes = np.tile(np.array([[0, 0, 9, 9]], np.float32), (count, 1))
    boxes[:500] = (20, 20, 30, 30)  # the 500 weakest: cut before suppression
    found = detect(boxes, scores)
    assert found.boxes_xyxy.tolist() == [[0, 0, 9, 9]] and found.scores[0] == np.float32(0.9)


def test_equal_scores_at_the_limit_are_cut_in_order() -> None:
    count = 20
    boxes = [[2 * i, 0, 2 * i + 1, 1] for i in range(count)]
    found = detect(boxes, np.full((count, 1), 0.5), kind="detection_nms_free", max_detections=5)
    assert found.boxes_xyxy[:, 0].tolist() == [0, 2, 4, 6, 8]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_score_that_is_no_number_is_an_error_and_not_silence(bad: float) -> None:
    with pytest.raises(SpecError, match="scores: found NaN or Infinity|scores: highest value is inf"):
        detect([[0, 0, 9, 9], [0, 0, 9, 9]], [[0.1], [bad]])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_chosen_box_that_is_no_number_is_an_error(bad: float) -> None:
    with pytest.raises(SpecError, match="boxes: found NaN or Infinity"):
        detect([[0, 0, bad, 9]], [[0.9]])


def test_scores_above_one_are_an_error_but_rounding_is_not() -> None:
    with pytest.raises(SpecError, match="scores: highest value is 4.5, expected at most 1"):
        detect([[0, 0, 9, 9]], [[4.5]])
    assert detect([[0, 0, 9, 9]], [[1.004]]).scores.tolist() == [1.0]


def test_boxes_and_scores_must_have_the_same_rows() -> None:
    with pytest.raises(SpecError, match=r"boxes: found \(1, 4\), expected \(2, 4\)"):
        detect([[0, 0, 9, 9]], [[0.9], [0.8]])
    with pytest.raises(SpecError, match="scores: found shape .* expected 2 axes"):
        detect([[0, 0, 9, 9]], [0.9])


def test_a_missing_role_is_named() -> None:
    with pytest.raises(SpecError, match="scores missing for postprocess kind 'detection_nms'; found boxes"):
        postprocess({"boxes": np.zeros((1, 4), np.float32)}, PostprocessSpec("detection_nms"), SAME)


def test_the_outputs_are_not_changed() -> None:
    boxes, scores = np.array([[0, 0, 9, 9]], np.float32), np.array([[0.9]], np.float32)
    boxes.flags.writeable = scores.flags.writeable = False
    postprocess({"boxes": boxes, "scores": scores}, PostprocessSpec("detection_nms"), LETTERBOX)


def test_probabilities_become_class_scores() -> None:
    found = postprocess({"probs": np.array([0.2, 0.8], np.float32)}, PostprocessSpec("classification_probs"), SAME)
    assert isinstance(found, ClassScores) and found.top(1) == [(1, pytest.approx(0.8))]


@pytest.mark.parametrize("probs", [[0.5, np.nan], [3.0, 1.0], [[0.5, 0.5]]])
def test_bad_probabilities_are_refused(probs: list) -> None:
    with pytest.raises(SpecError, match="probs: "):
        postprocess({"probs": np.array(probs, np.float32)}, PostprocessSpec("classification_probs"), SAME)


@pytest.mark.parametrize(
    "geometry", [SAME, LETTERBOX, PreprocessSpec((40, 40), resize="center_crop").geometry((31, 57))]
)
@pytest.mark.parametrize("stride", [1, 4])
def test_a_segmentation_is_the_argmax_of_the_field_at_the_original_size(geometry: Geometry, stride: int) -> None:
    logits = np.random.default_rng(0).normal(size=(40 // stride, 40 // stride, 7)).astype(np.float32)
    found = postprocess({"logits": logits}, PostprocessSpec("segmentation_logits"), geometry)
    assert isinstance(found, SegmentationMap) and found.class_map.shape == geometry.original_hw
    planes = np.stack(list(geometry.planes_to_original(logits)))
    np.testing.assert_array_equal(found.class_map, planes.argmax(axis=0))


def test_equal_logits_give_the_lower_class_as_argmax_does() -> None:
    found = postprocess({"logits": np.zeros((40, 40, 3), np.float32)}, PostprocessSpec("segmentation_logits"), SAME)
    assert isinstance(found, SegmentationMap) and not found.class_map.any()


def test_segmentation_leaves_the_logits_alone() -> None:
    logits = np.random.default_rng(0).normal(size=(40, 40, 3)).astype(np.float32)
    before = logits.copy()
    postprocess({"logits": logits}, PostprocessSpec("segmentation_logits"), SAME)
    np.testing.assert_array_equal(logits, before)


@pytest.mark.parametrize("channels", [1, 256])
def test_a_segmentation_has_two_to_255_classes(channels: int) -> None:
    with pytest.raises(SpecError, match=rf"logits: found {channels} channels, expected 2..255"):
        postprocess({"logits": np.zeros((4, 4, channels), np.float32)}, PostprocessSpec("segmentation_logits"), SAME)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_logits_that_are_no_numbers_are_an_error(bad: float) -> None:
    logits = np.zeros((4, 4, 3), np.float32)
    logits[1, 2, 1] = bad
    with pytest.raises(SpecError, match="logits: found NaN or Infinity"):
        postprocess({"logits": logits}, PostprocessSpec("segmentation_logits"), SAME)


def test_half_precision_outputs_are_read_too() -> None:
    outputs = {"boxes": np.array([[0, 0, 9, 9]], np.float16), "scores": np.array([[0.5]], np.float16)}
    found = postprocess(outputs, PostprocessSpec("detection_nms"), SAME)
    assert isinstance(found, Detections) and found.scores.dtype == np.float32 and found.scores.tolist() == [0.5]


def test_every_wrong_value_of_a_spec_is_reported_at_once() -> None:
    with pytest.raises(SpecError) as caught:
        PostprocessSpec("nms", score_threshold=1.5, iou_threshold=float("nan"), max_detections=0)
    message = str(caught.value)
    for word in ("kind: found 'nms', accepted detection_nms", "score_threshold: found 1.5", "iou_threshold: found nan"):
        assert word in message
    assert "max_detections: found 0" in message


def test_each_kind_names_its_task_its_roles_and_where_classes_are_counted() -> None:
    assert {name: (kind.task, kind.roles) for name, kind in KINDS.items()} == {
        "detection_nms": (Task.DETECTION, ("boxes", "scores")),
        "detection_nms_free": (Task.DETECTION, ("boxes", "scores")),
        "classification_probs": (Task.CLASSIFICATION, ("probs",)),
        "segmentation_logits": (Task.SEGMENTATION, ("logits",)),
    }
    outputs = {"boxes": np.zeros((9, 4)), "scores": np.zeros((9, 80))}
    assert number_of_classes(outputs, PostprocessSpec("detection_nms")) == 80
