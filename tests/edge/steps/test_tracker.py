"""Ids that stay: hand-made scenes with exact answers, and generated ones scored by motmetrics."""

from __future__ import annotations

import numpy as np
import pytest

from cvforge_edge.errors import SpecError
from cvforge_edge.steps.tracker import Tracker
from cvforge_edge.steps.tracking_defaults import KEEP_LOST_S, LOWEST_SCORE
from cvforge_edge.types import ClassScores, Detections
from edge.sink_results import result
from generated_tracks import LEVELS, Level, generate, score


def found(*objects: tuple[float, float], score: float = 0.9, class_id: int = 0, side: float = 20.0) -> Detections:
    """Square boxes around the given centres."""
    centers = np.array(objects, np.float32).reshape(-1, 2)
    count = len(centers)
    boxes = np.concatenate([centers - side / 2, centers + side / 2], 1).astype(np.float32)
    return Detections(boxes, np.full(count, score, np.float32), np.full(count, class_id, np.int64))


def together(*parts: Detections) -> Detections:
    return Detections(
        np.concatenate([part.boxes_xyxy for part in parts]),
        np.concatenate([part.scores for part in parts]),
        np.concatenate([part.class_ids for part in parts]),
    )


def follow(tracker: Tracker, scene: list[tuple[float, Detections]]) -> list[list[int]]:
    return [tracker.track(detections, time_s=time_s).track_ids.tolist() for time_s, detections in scene]


def test_an_object_gets_its_id_with_the_second_frame_and_keeps_it():
    scene = [(0.1 * i, found((50 + 4 * i, 60))) for i in range(5)]
    assert follow(Tracker(score_threshold=0.5), scene) == [[], [1], [1], [1], [1]]


def test_what_is_seen_once_gets_no_id_and_uses_none_up():
    scene = [(0.0, found((50, 50))), (0.1, found((300, 300))), (0.2, found((500, 60))), (0.3, found((501, 60)))]
    assert follow(Tracker(score_threshold=0.5), scene) == [[], [], [], [1]]


def test_boxes_scores_and_their_order_are_those_of_the_model():
    tracker = Tracker(score_threshold=0.5)
    tracker.track(found((50, 50), (150, 50)), time_s=0.0)
    given = together(found((300, 300)), found((151, 52), score=0.75), found((52, 50), score=0.8))
    tracked = tracker.track(given, time_s=0.1)
    assert (tracked.boxes_xyxy == given.boxes_xyxy[1:]).all()
    assert tracked.scores.tolist() == [0.75, np.float32(0.8)]
    assert sorted(tracked.track_ids.tolist()) == [1, 2]
    assert given.track_ids is None


def test_objects_that_cross_keep_their_ids():
    scene = [(0.04 * i, found((20 + 4 * i, 100), (220 - 4 * i, 108))) for i in range(50)]
    assert follow(Tracker(score_threshold=0.5), scene)[1:] == [[1, 2]] * 49


def test_a_low_score_keeps_a_known_object_but_begins_none():
    dim = [(0.3, found((50, 50), score=0.2)), (0.4, found((50, 50), score=0.2))]
    assert follow(Tracker(score_threshold=0.5), dim) == [[], []]
    bright = [(0.1, found((50, 50))), (0.2, found((50, 50)))]
    assert follow(Tracker(score_threshold=0.5), bright + dim) == [[], [1], [1], [1]]
    noise = (0.3, found((50, 50), score=LOWEST_SCORE / 2))
    assert follow(Tracker(score_threshold=0.5), [*bright, noise]) == [[], [1], []]


def test_a_low_score_does_not_confirm_an_object_that_was_seen_once():
    scene = [(0.0, found((50, 50))), (0.1, found((50, 50), score=0.3)), (0.2, found((50, 50), score=0.3))]
    assert follow(Tracker(score_threshold=0.5), scene) == [[], [], []]


def test_a_low_score_finds_a_lost_object_again():
    scene = [(0.1 * i, found((50, 50))) for i in range(3)]
    scene += [(0.3, Detections.empty()), (0.4, found((50, 50), score=0.3))]
    assert follow(Tracker(score_threshold=0.5), scene) == [[], [1], [1], [], [1]]


def test_a_class_may_have_a_threshold_of_its_own():
    tracker = Tracker(score_threshold=0.5, class_thresholds={1: 0.95})
    both = together(found((50, 50)), found((150, 50), class_id=1))
    assert tracker.track(both, time_s=0.0).track_ids.tolist() == []
    assert tracker.track(both, time_s=0.1).class_ids.tolist() == [0]


def test_an_object_of_another_class_in_the_same_place_is_another_object():
    scene = [(0.0, found((50, 50))), (0.1, found((50, 50))), (0.2, found((50, 50), class_id=1))]
    assert follow(Tracker(score_threshold=0.5), [*scene, (0.3, found((50, 50), class_id=1))]) == [[], [1], [], [2]]


@pytest.mark.parametrize(("hidden_s", "ids"), [(KEEP_LOST_S - 0.2, [1]), (KEEP_LOST_S + 0.2, [])])
def test_a_hidden_object_keeps_its_id_for_so_many_seconds_whatever_the_frame_rate(hidden_s, ids):
    for empty_frames in (1, 40):
        seen = [(0.1 * i, found((50 + i, 50))) for i in range(6)]
        times = [0.5 + hidden_s * (i + 1) / (empty_frames + 1) for i in range(empty_frames)]
        back = (0.5 + hidden_s, found((55 + 10 * hidden_s, 50)))
        scene = [*seen, *((time_s, Detections.empty()) for time_s in times), back]
        assert follow(Tracker(score_threshold=0.5), scene)[-1] == ids


def test_an_object_is_found_where_it_went_while_frames_were_lost():
    tracker = Tracker(score_threshold=0.5)
    follow(tracker, [(0.1 * i, found((50 + 6 * i, 50))) for i in range(20)])
    assert follow(tracker, [(1.9 + 0.8, found((50 + 6 * 27, 50)))]) == [[1]]  # 42 pixels on, two boxes away


def test_a_slow_source_keeps_ids_from_one_frame_to_the_next():
    scene = [(10.0 * i, found((50, 50))) for i in range(3)]
    assert follow(Tracker(score_threshold=0.5), scene) == [[], [1], [1]]


def test_a_clip_that_begins_again_begins_with_new_ids():
    scene = [(5.0, found((50, 50))), (5.1, found((50, 50))), (0.0, found((50, 50))), (0.1, found((50, 50)))]
    assert follow(Tracker(score_threshold=0.5), scene) == [[], [1], [], [2]]


def test_two_frames_of_the_same_time_are_no_trouble():
    scene = [(0.0, found((50, 50))), (0.0, found((50, 50))), (0.0, found((51, 50)))]
    assert follow(Tracker(score_threshold=0.5), scene) == [[], [1], [1]]


def test_empty_frames_and_boxes_without_area_are_no_trouble():
    flat = Detections(np.full((2, 4), 7, np.float32), np.ones(2, np.float32), np.zeros(2, np.int64))
    tracker = Tracker(score_threshold=0.5)
    assert len(tracker.track(Detections.empty(), time_s=0.0)) == 0
    assert tracker.track(flat, time_s=0.1).track_ids.tolist() == []
    assert tracker.track(flat, time_s=0.2).track_ids.tolist() == [1, 2]


def test_as_a_step_it_adds_ids_to_a_result_and_leaves_the_given_one_alone():
    tracker = Tracker(score_threshold=0.5)
    results = [result(i, prediction=found((30, 30), score=0.9)) for i in range(2)]
    tracked = [tracker.apply(one) for one in results]
    assert [one.prediction.track_ids.tolist() for one in tracked] == [[], [1]]
    assert results[1].prediction.track_ids is None
    assert tracked[1].frame is results[1].frame


def test_other_predictions_are_refused():
    with pytest.raises(SpecError, match="found ClassScores, accepted only Detections"):
        Tracker(score_threshold=0.5).apply(result(prediction=ClassScores(np.ones(2, np.float32))))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"score_threshold": 1.5}, "accepted are thresholds from 0 to 1"),
        ({"class_thresholds": {0: -0.1}}, "accepted are thresholds from 0 to 1"),
        ({"keep_lost_s": float("nan")}, "accepted is a time of at least 0 seconds"),
    ],
)
def test_settings_out_of_range_are_refused_with_code_2(wrong, words):
    with pytest.raises(SpecError, match=words) as caught:
        Tracker(**{"score_threshold": 0.5, **wrong})
    assert caught.value.exit_code == 2


def test_a_perfect_detector_gives_perfect_ids():
    moments = generate(Level(5, 120, (25.0,), 0.0, 0.0, 0.0, 0.0, 0.0, 0.5), seed=3)
    scores = score(moments, _tracker())
    assert scores.switches == 0
    assert scores.false_positives == 0
    assert scores.idf1 > 0.97


@pytest.mark.parametrize(
    ("level", "mota", "idf1"),
    [("easy", 0.94, 0.94), ("medium", 0.84, 0.86), ("hard", 0.72, 0.75), ("uneven frames", 0.84, 0.85)],
)
def test_generated_sequences_score_what_motmetrics_says_they_should(level, mota, idf1):
    scores = [score(generate(LEVELS[level], seed=seed), _tracker()) for seed in (200, 201)]
    assert np.mean([one.mota for one in scores]) > mota
    assert np.mean([one.idf1 for one in scores]) > idf1


def test_the_evaluator_sees_ids_that_are_made_up_anew():
    moments = generate(LEVELS["easy"], seed=200)
    numbers = iter(range(1, 10**6))

    def forgetful(moment):
        ids = np.array([next(numbers) for _ in range(len(moment.truth))], np.int64)
        return Detections(moment.truth.boxes_xyxy, moment.truth.scores, moment.truth.class_ids, track_ids=ids)

    scores = score(moments, forgetful)
    assert scores.idf1 < 0.05
    assert scores.switches > 1000


def _tracker():
    tracker = Tracker(score_threshold=0.5)
    return lambda moment: tracker.track(moment.found, time_s=moment.time_s)
