"""Which frames are hard, by answers that can be worked out by hand, and that the same frames always give the same choice."""

from __future__ import annotations

import numpy as np
import pytest

from cvforge_edge.evidence.collector import Collector
from cvforge_edge.evidence.consecutive import Consecutive
from cvforge_edge.evidence.criteria import outlier_reasons, unsure_reasons
from cvforge_edge.evidence.disagreement import answer_distance, flicker_reasons
from cvforge_edge.evidence.drift import DriftWatch
from cvforge_edge.evidence.seen import thumbnail, thumbnail_change
from cvforge_edge.stats.statistics import Statistics
from cvforge_edge.types import Detections, Task
from edge.evidence_frames import boxes, noise, pixels, probs, seen

LABELS = ("red", "blue")
THREE = ("red", "blue", "neither")
A, B, C = (0, 0, 10, 10), (20, 20, 30, 30), (40, 0, 60, 20)


def flicker(*answers, labels=LABELS):
    return flicker_reasons(*answers, labels=labels, score_threshold=0.3)


def test_half_of_the_objects_near_the_threshold_make_a_frame_hard():
    [reason] = unsure_reasons(seen(boxes((*A, 0.9, 0), (*B, 0.35, 1))).glance, LABELS)
    assert (reason.kind, reason.value, reason.label, reason.box_xyxy) == ("unsure", 0.5, "blue", (20, 20, 30, 30))
    assert unsure_reasons(seen(boxes((*A, 0.9, 0), (*B, 0.35, 1), (*C, 0.9, 1))).glance, LABELS) == []
    assert unsure_reasons(seen(boxes((*A, 0.46, 0))).glance, LABELS) == []


@pytest.mark.parametrize(("best", "hard"), [(0.2, False), (0.22, True), (0.29, True)])
def test_a_frame_without_objects_is_hard_where_one_was_nearly_found(best, hard):
    outputs = {"scores": np.array([[0.0, 0.1], [best, 0.0]], np.float32)}
    reasons = unsure_reasons(seen(Detections.empty(), outputs=outputs).glance, LABELS)
    assert [(reason.kind, reason.label) for reason in reasons] == ([("nothing_sure", "red")] if hard else [])


@pytest.mark.parametrize(
    ("answer", "value"), [((0.5, 0.4, 0.1), 0.9), ((0.55, 0.35, 0.1), None), ((0.9, 0.1, 0), None)]
)
def test_a_small_margin_between_two_classes_makes_a_frame_hard(answer, value):
    reasons = unsure_reasons(seen(probs(*answer), model="classifier").glance, THREE)
    assert [round(reason.value, 5) for reason in reasons] == ([] if value is None else [value])


def test_entropy_of_a_segmentation_is_that_of_its_probabilities():
    even = np.zeros((8, 8, 3), np.float32)
    sure = even.copy()
    sure[..., 1] = 50
    halves = np.full((8, 8, 3), -1000, np.float32)
    halves[..., :2] = 7
    found = [
        seen(pixels(np.zeros((48, 64))), model="segmenter", outputs={"logits": logits}).glance
        for logits in (even, sure, halves)
    ]
    assert [round(glance.entropy, 5) for glance in found] == [1.0, 0.0, round(np.log(2) / np.log(3), 5)]
    assert [len(unsure_reasons(glance, THREE)) for glance in found] == [1, 0, 1]


def test_an_object_of_one_frame_alone_flickers():
    two, three = boxes((*A, 0.8, 0), (*B, 0.8, 1)), boxes((*A, 0.8, 0), (*B, 0.8, 1), (*C, 0.7, 1))
    [reason] = flicker(two, three, two)
    assert (reason.label, reason.box_xyxy, round(reason.value, 5)) == ("blue", (40, 0, 60, 20), 0.7)
    [reason] = flicker(three, two, three)
    assert "not found here, but in the frames before and after" in reason.text
    assert (reason.label, reason.box_xyxy) == ("blue", (40, 0, 60, 20))
    assert flicker(two, three, three) == []  # it stays
    assert flicker(three, three, two) == []  # it leaves
    assert flicker(two, two, two) == []
    assert flicker(boxes(), boxes(), boxes()) == []


def test_objects_near_the_threshold_do_not_flicker():
    assert flicker(boxes(), boxes((*A, 0.39, 0)), boxes()) == []
    assert len(flicker(boxes(), boxes((*A, 0.41, 0)), boxes())) == 1


def test_an_object_that_changes_its_class_for_one_frame_flickers():
    red, blue = boxes((*A, 0.8, 0)), boxes((*A, 0.6, 1))
    assert sorted(reason.label for reason in flicker(red, blue, red)) == ["blue", "red"]


def test_a_moving_object_does_not_flicker():
    places = [boxes((x, 0, x + 10, 10, 0.9, 0)) for x in (0, 3, 6)]
    assert flicker(*places) == []


def test_a_class_or_pixels_of_one_frame_alone_flicker():
    red, blue = probs(0.9, 0.1, 0.0), probs(0.2, 0.8, 0.0)
    assert [reason.label for reason in flicker(red, blue, red, labels=THREE)] == ["blue"]
    assert flicker(red, blue, blue, labels=THREE) == []
    plain, patch, dot = np.zeros((48, 64)), np.zeros((48, 64)), np.zeros((48, 64))
    patch[:24, :32] = 2
    dot[0, 0] = 2
    [reason] = flicker(pixels(plain), pixels(patch), pixels(plain), labels=THREE)
    assert (reason.label, reason.value) == ("neither", 0.25)
    assert flicker(pixels(plain), pixels(dot), pixels(plain), labels=THREE) == []


def test_the_distance_of_answers_goes_from_nothing_to_everything():
    two = boxes((*A, 0.9, 0), (*B, 0.9, 1))
    assert answer_distance(two, two) == 0
    assert answer_distance(two, boxes((*A, 0.9, 0))) == pytest.approx(1 / 3)
    assert answer_distance(two, boxes((*C, 0.9, 0))) == 1
    assert answer_distance(boxes(), boxes()) == 0
    assert answer_distance(probs(1, 0, 0), probs(0.75, 0.25, 0)) == pytest.approx(0.25)
    assert answer_distance(pixels([[0, 1]]), pixels([[0, 2]])) == 0.5


def hard_indices(frames, labels=LABELS):
    held = Consecutive(labels)
    return [(one.frame.index, reason.kind) for frame in frames for one, why in held.add(frame) for reason in why]


def test_the_frame_in_the_middle_is_the_hard_one():
    answers = [boxes((*A, 0.9, 0))] * 3 + [boxes()] + [boxes((*A, 0.9, 0))] * 3
    assert hard_indices(seen(answer, index=i) for i, answer in enumerate(answers)) == [(3, "flicker")]


def test_frames_far_apart_or_of_another_view_are_not_compared():
    answers = [boxes((*A, 0.9, 0)), boxes(), boxes((*A, 0.9, 0))]
    assert hard_indices(seen(answer, index=i, time_s=float(i)) for i, answer in enumerate(answers)) == []
    pictures = [noise(1), noise(2), noise(1)]
    assert hard_indices(seen(a, index=i, image=p) for i, (a, p) in enumerate(zip(answers, pictures, strict=True))) == []


def test_an_answer_that_changes_where_the_picture_does_not_is_a_jump():
    before, after = boxes((*A, 0.9, 0), (*B, 0.9, 1), (*C, 0.9, 1)), boxes((*C, 0.9, 1))
    frames = [seen(before, index=0, image=noise(1)), seen(after, index=1, image=noise(1))]
    assert hard_indices(frames) == [(1, "jump")]
    moved = [frames[0], seen(after, index=1, image=np.roll(noise(1), 16, axis=1))]
    assert hard_indices(moved) == []
    one_leaves = [seen(boxes((*A, 0.9, 0)), index=0), seen(boxes(), index=1)]
    assert hard_indices(one_leaves) == []


def test_light_alone_is_no_change_of_a_thumbnail():
    dark, bright = noise(1) // 2, noise(1) // 2 + 60
    assert thumbnail_change(thumbnail(dark), thumbnail(bright)) < 1
    assert thumbnail_change(thumbnail(dark), thumbnail(noise(2))) > 10


def reference_of(pictures, embeddings=None) -> Statistics:
    collected = Statistics(Task.DETECTION, LABELS)
    for index, picture in enumerate(pictures):
        collected.add(picture, boxes((*A, 0.9, 0)), embedding=None if embeddings is None else embeddings[index])
    if collected.embedding is not None:
        collected.embedding.distances.add(collected.embedding.distance(np.array(embeddings)))
    return collected


def test_a_picture_beyond_the_reference_is_an_outlier_by_name():
    reference = reference_of([noise(seed) for seed in range(60)])
    dark = seen(image=noise(99) // 8).glance
    assert outlier_reasons(seen(image=noise(99)).glance, reference, distance=None) == []
    found = {reason.label: reason.value for reason in outlier_reasons(dark, reference, distance=None)}
    assert {"brightness", "contrast"} <= set(found)
    assert all(0 < value < 1 for value in found.values())
    assert outlier_reasons(dark, None, distance=None) == []


def test_an_embedding_beyond_the_reference_is_an_outlier():
    rng = np.random.default_rng(0)
    reference = reference_of([noise(seed) for seed in range(60)], rng.normal(size=(60, 4)))
    usual = seen(image=noise(99), outputs={"embedding": np.zeros(4, np.float32)})
    strange = seen(image=noise(99), outputs={"embedding": np.full(4, 30, np.float32)})
    watch = DriftWatch(Task.DETECTION, LABELS, reference=reference, names=["door"])
    found = [outlier_reasons(one.glance, reference, distance=watch.distance(one)) for one in (usual, strange)]
    assert [[reason.label for reason in reasons] for reasons in found] == [[], ["distance"]]
    assert watch.distance(strange) == pytest.approx(float(reference.embedding.distance(np.full((1, 4), 30))[0]))


class ListKeeper:
    def __init__(self) -> None:
        self.offers = []

    def offer(self, seen, reasons) -> None:
        self.offers.append((seen.camera, seen.frame.index, tuple(reason.kind for reason in reasons)))


def collected(frames, *, cameras: int = 1, sample_every_s: float = 0.5, apart_s: float = 10.0):
    keeper = ListKeeper()
    drift = DriftWatch(Task.DETECTION, LABELS, reference=None, names=[str(i) for i in range(cameras)])
    collector = Collector(
        drift=drift, keeper=keeper, labels=LABELS, cameras=cameras, sample_every_s=sample_every_s, apart_s=apart_s
    )
    for frame in frames:
        collector.take(frame)
    collector.close()
    return keeper.offers, [camera.windows.since_start.images for camera in drift.cameras]


def test_of_ten_seconds_the_hardest_frame_is_kept():
    scores = {0: 0.44, 15: 0.31, 70: 0.40, 130: 0.32}  # frames of 0.1 s; all that are sampled
    frames = [seen(boxes((*A, scores.get(i, 0.9), 0), (*B, 0.31 if i == 70 else 0.9, 0)), index=i) for i in range(150)]
    offers, _ = collected(frames)
    assert [index for _, index, _ in offers] == [70, 130]


def test_cameras_do_not_compete_and_are_sampled_each():
    frames = [seen(boxes((*A, 0.31, 0)), index=i, camera=c) for i in range(40) for c in (0, 1)]
    offers, images = collected(frames, cameras=2)
    assert offers == [(0, 0, ("unsure",)), (1, 0, ("unsure",))]
    assert images == [8, 8]  # four seconds, twice a second


def test_a_frame_that_is_hard_for_two_reasons_is_offered_once_with_both():
    answers = [boxes(), boxes((*A, 0.41, 0)), boxes()]
    frames = [seen(a, index=i, outputs={"scores": np.zeros((1, 2), np.float32)}) for i, a in enumerate(answers)]
    offers, _ = collected(frames, sample_every_s=0.1)
    assert offers == [(0, 1, ("unsure", "flicker"))]


def test_a_clip_that_begins_again_goes_on():
    frames = [seen(boxes((*A, 0.31, 0)), index=i) for i in (*range(100, 120), *range(20))]
    offers, [images] = collected(frames)
    assert len(offers) == 2
    assert images == 8


def test_the_same_frames_give_the_same_choice():
    rng = np.random.default_rng(3)
    frames = [seen(boxes((*A, score, 0)), index=i) for i, score in enumerate(rng.uniform(0.3, 1, 400))]
    assert collected(frames) == collected(frames)
