"""What rules say about made-up scenes: each event, with its time, object and value."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from cvforge_edge.errors import SpecError
from cvforge_edge.rules.rule_types import (
    ClassChange,
    LabelHeld,
    LineCrossing,
    PixelShare,
    Rule,
    Rules,
    ZoneDwell,
    ZoneOccupancy,
)
from cvforge_edge.steps.rule_engine import RuleEngine
from cvforge_edge.types import ClassScores, Detections, SegmentationMap
from edge.sink_results import result

SIZE_HW = (100, 200)
UPWARDS = ((0.5, 1.0), (0.5, 0.0))
RIGHT_HALF = ((0.5, 0.0), (1.0, 0.0), (1.0, 1.0), (0.5, 1.0))


def tracked(*objects: tuple[int, float, float], class_id: int = 0) -> Detections:
    """Objects (id, x, y) whose lower edges have their middle at x, y; 10 pixels wide, 20 high."""
    boxes = np.array([(x - 5, y - 20, x + 5, y) for _, x, y in objects], np.float32).reshape(-1, 4)
    ids = np.array([one[0] for one in objects], np.int64)
    count = len(objects)
    return Detections(boxes, np.ones(count, np.float32), np.full(count, class_id, np.int64), track_ids=ids)


def watch(rule: Rule, scene: Sequence[tuple[float, object]], *, engine: RuleEngine | None = None) -> list[tuple]:
    """Time, kind, track id or label, and value of each event."""
    engine = engine or RuleEngine(Rules((rule,)))
    told = []
    for index, (time_s, prediction) in enumerate(scene):
        seen = engine.apply(result(index, prediction=prediction, size_hw=SIZE_HW, time_s=time_s))
        for event in seen.events:
            assert (event.rule, event.frame, event.time_s, event.source) == (rule.name, index, time_s, "clip.mp4")
            who = event.label if event.track_id is None else event.track_id
            told.append((time_s, event.kind, who, None if event.value is None else round(event.value, 6)))
    return told


def walk(*places: float, y: float = 50, step_s: float = 1.0) -> list[tuple[float, Detections]]:
    return [(step_s * i, tracked((7, x, y))) for i, x in enumerate(places)]


def test_a_line_counts_both_ways_with_left_to_right_as_plus_one():
    rule = LineCrossing("door", UPWARDS)
    events = watch(rule, walk(80, 95, 110, 130, 105, 80))
    assert events == [(2.0, "line_crossed", 7, 1.0), (5.0, "line_crossed", 7, -1.0)]


def test_one_who_trembles_on_the_line_counts_once_when_through():
    places = [90, 99.5, 100.5, 99.5, 100.5, 99.5, 100.5, 110]
    assert watch(LineCrossing("door", UPWARDS), walk(*places)) == [(7.0, "line_crossed", 7, 1.0)]
    assert watch(LineCrossing("door", UPWARDS), walk(*places[:-1], 90)) == []


def test_the_way_round_the_end_of_a_line_does_not_count():
    short = LineCrossing("door", ((0.5, 0.4), (0.5, 0.0)))
    assert watch(short, walk(80, 120, y=50)) == []
    assert watch(short, walk(80, 120, y=30)) == [(1.0, "line_crossed", 7, 1.0)]


def test_an_object_that_is_hidden_at_the_line_counts_when_it_is_back():
    scene = [(0.0, tracked((7, 80, 50))), (0.5, tracked()), (1.0, tracked()), (1.5, tracked((7, 120, 50)))]
    assert watch(LineCrossing("door", UPWARDS), scene) == [(1.5, "line_crossed", 7, 1.0)]


def test_objects_are_told_apart_and_other_labels_do_not_count():
    scene = [(0.0, tracked((1, 80, 50), (2, 120, 50))), (1.0, tracked((1, 120, 50), (2, 80, 50)))]
    expected = [(1.0, "line_crossed", 1, 1.0), (1.0, "line_crossed", 2, -1.0)]
    assert watch(LineCrossing("door", UPWARDS, labels=("red",)), scene) == expected
    assert watch(LineCrossing("door", UPWARDS, labels=("blue",)), scene) == []


def test_a_crossing_within_the_cool_down_does_not_count():
    rule = LineCrossing("door", UPWARDS, cooldown_s=2.5)
    assert [time_s for time_s, *_ in watch(rule, walk(80, 120, 80, 120, 80))] == [1.0, 4.0]


def test_the_anchor_decides_where_an_object_is():
    level = ((0.0, 0.45), (1.0, 0.45))  # from left to right: its right is below
    scene = [(0.0, tracked((1, 50, 30))), (1.0, tracked((1, 50, 52)))]
    assert watch(LineCrossing("a", level, anchor="bottom"), scene) == [(1.0, "line_crossed", 1, 1.0)]
    assert watch(LineCrossing("a", level, anchor="center"), scene) == []


def test_counts_stand_beside_the_line():
    engine = RuleEngine(Rules((LineCrossing("door", UPWARDS),)))
    watch(LineCrossing("door", UPWARDS), walk(80, 120, 80, 120), engine=engine)
    (marking,) = engine.apply(result(prediction=tracked(), size_hw=SIZE_HW, time_s=4.0)).markings
    assert (marking.points, marking.text) == (UPWARDS, "door  +2  -1")


def test_nothing_is_drawn_where_the_file_says_so():
    engine = RuleEngine(Rules((LineCrossing("door", UPWARDS),), draw=False))
    assert engine.apply(result(prediction=tracked(), size_hw=SIZE_HW)).markings == ()


def test_occupancy_must_last_to_begin_and_to_end():
    rule = ZoneOccupancy("queue", RIGHT_HALF, at_least=2, for_s=1.0)
    one, two = tracked((1, 150, 50), (3, 20, 50)), tracked((1, 150, 50), (2, 160, 50), (3, 20, 50))
    flicker = [(0.0, two), (0.5, one), (1.0, two), (1.5, two), (2.0, two)]
    ending = [(2.5, one), (3.0, two), (3.5, one), (4.0, one), (4.5, one)]
    assert watch(rule, flicker + ending) == [
        (2.0, "occupancy_began", None, 2.0),
        (4.5, "occupancy_ended", None, 2.5),
    ]


def test_a_cool_down_keeps_a_beginning_back_after_an_end():
    rule = ZoneOccupancy("queue", RIGHT_HALF, cooldown_s=3.0)
    full, empty = tracked((1, 150, 50)), tracked()
    scene = [(float(i), full if i % 2 else empty) for i in range(6)] + [(6.0, full)]
    assert [(time_s, kind) for time_s, kind, *_ in watch(rule, scene)] == [
        (1.0, "occupancy_began"),
        (2.0, "occupancy_ended"),
        (5.0, "occupancy_began"),
    ]


def test_a_long_pause_between_frames_is_not_taken_for_holding():
    rule = ZoneOccupancy("queue", RIGHT_HALF, for_s=8.0)
    full = tracked((1, 150, 50))
    assert watch(rule, [(0.0, full), (30.0, full), (34.0, full)]) == []
    assert watch(rule, [(0.0, full), (4.0, full), (8.0, full)]) == [(8.0, "occupancy_began", None, 1.0)]


def test_an_object_enters_stays_and_leaves():
    rule = ZoneDwell("desk", RIGHT_HALF, longer_than_s=2.0)
    assert watch(rule, walk(80, 120, 130, 140, 150, 80)) == [
        (1.0, "zone_entered", 7, None),
        (3.0, "dwelled", 7, 2.0),
        (5.0, "zone_left", 7, 4.0),
    ]


def test_only_the_events_that_are_asked_for_are_told():
    rule = ZoneDwell("desk", RIGHT_HALF, longer_than_s=2.0, events=("dwelled",))
    assert watch(rule, walk(80, 120, 130, 140, 150, 80)) == [(3.0, "dwelled", 7, 2.0)]


def test_a_step_over_the_edge_is_no_leaving_and_no_entering():
    rule = ZoneDwell("desk", RIGHT_HALF, for_s=0.5)
    places = [80, 120, 80, 120, 130, 130, 80, 120, 120, 80, 80, 80, 80]
    assert watch(rule, walk(*places, step_s=0.25)) == [
        (1.25, "zone_entered", 7, None),
        (2.75, "zone_left", 7, 1.5),
    ]


def test_one_who_vanishes_has_left_when_last_seen():
    rule = ZoneDwell("desk", RIGHT_HALF)
    scene = [*walk(120, 130), (2.0, tracked()), (3.0, tracked()), (4.5, tracked()), (9.0, tracked())]
    assert watch(rule, scene) == [(0.0, "zone_entered", 7, None), (4.5, "zone_left", 7, 1.0)]


def test_one_who_is_hidden_for_a_moment_stays():
    rule = ZoneDwell("desk", RIGHT_HALF, longer_than_s=3.0)
    scene = [(0.0, tracked((7, 120, 50))), (1.5, tracked()), (3.0, tracked((7, 125, 50)))]
    assert watch(rule, scene) == [(0.0, "zone_entered", 7, None), (3.0, "dwelled", 7, 3.0)]


def test_time_that_goes_backwards_begins_anew():
    rule = ZoneDwell("desk", RIGHT_HALF, longer_than_s=2.0)
    scene = [(9.0, tracked((7, 120, 50))), (0.0, tracked((7, 120, 50))), (1.0, tracked((7, 120, 50)))]
    assert watch(rule, scene) == [(9.0, "zone_entered", 7, None), (0.0, "zone_entered", 7, None)]


def test_an_object_does_not_give_the_same_event_again_within_the_cool_down():
    rule = ZoneDwell("desk", RIGHT_HALF, events=("zone_entered",), cooldown_s=3.0)
    assert [time_s for time_s, *_ in watch(rule, walk(120, 80, 120, 80, 120))] == [0.0, 4.0]


def scores(red: float) -> ClassScores:
    return ClassScores(np.array([red, 1 - red], np.float32))


def test_a_label_must_hold_for_so_long():
    rule = LabelHeld("alarm", "red", min_score=0.75, for_s=1.0)
    values = [0.75, 0.5, 0.75, 0.75, 0.875, 0.25, 0.25, 0.25]
    assert watch(rule, [(0.5 * i, scores(value)) for i, value in enumerate(values)]) == [
        (2.0, "label_began", "red", 0.875),
        (3.5, "label_ended", "red", 1.5),
    ]


def test_another_strongest_class_is_told_once_it_lasts_and_the_first_is_none():
    rule = ClassChange("state", min_score=0.6, for_s=1.0)
    values = [0.9, 0.9, 0.9, 0.25, 0.9, 0.25, 0.55, 0.25, 0.25, 0.25, 0.25]
    events = watch(rule, [(0.5 * i, scores(value)) for i, value in enumerate(values)])
    assert events == [(4.5, "class_changed", "blue", 0.75)]


def test_a_class_that_covers_more_than_its_share_of_the_zone_is_told():
    rule = PixelShare("flood", "blue", above=0.25, zone=RIGHT_HALF)
    scene = []
    for i, rows in enumerate((0, 25, 26, 60, 20)):
        class_map = np.zeros(SIZE_HW, np.uint8)
        class_map[:, :100] = 1  # outside of the zone
        class_map[:rows, 100:] = 1
        scene.append((float(i), SegmentationMap(class_map)))
    assert watch(rule, scene) == [(2.0, "share_began", "blue", 0.26), (4.0, "share_ended", "blue", 2.0)]
    whole = PixelShare("flood", "blue", above=0.625)
    assert watch(whole, scene) == [(2.0, "share_began", "blue", 0.63), (4.0, "share_ended", "blue", 2.0)]


@pytest.mark.parametrize(
    ("rule", "prediction", "words"),
    [
        (
            LineCrossing("door", UPWARDS),
            Detections.empty(),
            "rule door: found no tracked objects; put a Tracker before",
        ),
        (LabelHeld("a", "red"), Detections.empty(), "rule a: found Detections, accepted ClassScores"),
        (PixelShare("a", "red", 0.5), Detections.empty(), "rule a: found Detections, accepted SegmentationMap"),
    ],
)
def test_results_of_another_kind_are_refused(rule, prediction, words):
    with pytest.raises(SpecError, match=words):
        watch(rule, [(0.0, prediction)])
