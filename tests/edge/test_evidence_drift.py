"""Windows of a camera against the reference: named findings, events that do not flutter, files that go on after a restart."""

from __future__ import annotations

import json
import logging

import numpy as np
import pytest

from cvforge_edge.errors import BundleError
from cvforge_edge.evidence.drift import DEBOUNCE, DriftWatch
from cvforge_edge.evidence.evidence import JUDGE_EVERY_S, Evidence
from cvforge_edge.evidence.findings import MIN_IMAGES, compare
from cvforge_edge.evidence.position import Limits, beyond_text, far_outside, position
from cvforge_edge.evidence.settings import EvidenceSettings
from cvforge_edge.evidence.windows import HOUR_S, PART_S, Windows
from cvforge_edge.stats.distribution import Bins, Distribution
from cvforge_edge.stats.statistics import Statistics
from cvforge_edge.types import Task
from edge.evidence_frames import PLENTY, boxes, bundle_of, noise, pixels, probs, seen

LABELS = ("red", "blue")
OBJECT = (0, 0, 10, 10)


def answer(rng, *, score=(0.6, 0.95), objects: int = 2, class_id: int = 0):
    return boxes(*[(*OBJECT, rng.uniform(*score), class_id) for _ in range(objects)])


def pictures(number: int, *, first: int = 0) -> list[np.ndarray]:
    """Pictures of one kind: of mixed light, each a little different."""
    rng = np.random.default_rng(first)
    return [(noise(first + i) * rng.uniform(0.6, 1.0)).astype(np.uint8) for i in range(number)]


def statistics(images, *, seed: int = 0, **kind) -> Statistics:
    rng, found = np.random.default_rng(seed), Statistics(Task.DETECTION, LABELS)
    for image in images:
        found.add(image, answer(rng, **kind))
    return found


@pytest.fixture(scope="module")
def reference() -> Statistics:
    return statistics(pictures(150))


def levels(found) -> dict[str, str]:
    return {finding.quantity: finding.level for finding in found}


def test_the_position_of_a_value_is_the_inverse_of_a_quantile():
    distribution = Distribution(Bins(0.0, 256.0, 64))
    distribution.add(np.random.default_rng(0).normal(120, 20, 500))
    for share in (0.05, 0.3, 0.5, 0.95):
        assert position(distribution, distribution.quantile(share)) == pytest.approx(share, abs=1e-9)
    assert position(distribution, distribution.minimum - 1) == 0
    assert position(distribution, distribution.maximum + 1) == 1


def test_a_reference_narrower_than_a_bin_counts_as_spread_over_one():
    constant = Distribution(Bins(0.0, 1.0, 50))
    constant.add(np.full(100, 0.9))  # on the border of two bins
    found = [position(constant, value) for value in (0.889, 0.895, 0.9, 0.905, 0.911)]
    assert found == pytest.approx([0, 0.25, 0.5, 0.75, 1])
    outside = [far_outside(constant, value) for value in (0.887, 0.889, 0.9, 0.911, 0.913)]
    assert outside == [True, False, False, False, True]
    constant.add(np.array([0.93]))
    assert position(constant, 0.889) == position(constant, 0.8999) == 0


def test_a_tiny_difference_from_a_reference_that_is_constant_is_no_drift():
    def one_scene(*, light: int = 100, score: float = 0.9) -> Statistics:
        return statistics([np.full((40, 50, 3), light, np.uint8)] * 40, score=(score, score))

    constant = one_scene()
    for window in (one_scene(), one_scene(light=101, score=0.899), one_scene(light=99, score=0.901)):
        assert set(levels(compare(window, constant)).values()) == {"ok"}
    for window in (one_scene(light=90, score=0.8), one_scene(light=110, score=0.88)):
        found = levels(compare(window, constant))
        assert (found["brightness"], found["scores"]) == ("drift", "drift")


def test_limits_name_the_sides_that_they_have():
    limits = Limits(notice_low=0.05, drift_low=0.01, notice_high=0.95)
    assert [limits.level(share) for share in (0, 0.01, 0.02, 0.05, 0.5, 0.96, 1)] == [
        "drift",
        "drift",
        "notice",
        "notice",
        "ok",
        "notice",
        "notice",
    ]
    assert (beyond_text(0.004, 87), beyond_text(1.0, 87), beyond_text(0.0, 87)) == ("99.6 %", "all 87", "all 87")


def test_pictures_of_the_same_kind_are_no_drift(reference):
    found = compare(statistics(pictures(60, first=1000), seed=1), reference)
    assert set(levels(found)) == {"brightness", "contrast", "sharpness", "colors", "scores", "objects", "classes"}
    assert set(levels(found).values()) == {"ok"}


def test_darker_pictures_are_named_in_a_sentence(reference):
    dark = [image // 4 for image in pictures(60, first=1000)]
    finding = compare(statistics(dark, seed=1), reference)[0]
    assert finding.level == "drift"
    texts = {one.quantity: one.text for one in compare(statistics(dark, seed=1), reference)}
    assert texts["brightness"].startswith("pictures are darker than in training: median brightness 2")
    assert texts["brightness"].endswith("beyond all 150 of its pictures")


def test_each_change_is_found_by_its_quantity(reference):
    usual = pictures(60, first=1000)
    flat = [(image * 0.1 + 100).astype(np.uint8) for image in usual]
    warm = [(image * np.array([0.4, 0.7, 1.0])).astype(np.uint8) for image in usual]
    changed = {
        "contrast": statistics(flat, seed=1),
        "colors": statistics(warm, seed=1),
        "scores": statistics(usual, seed=1, score=(0.3, 0.45)),
        "objects": statistics(usual, seed=1, objects=9),
        "classes": statistics(usual, seed=1, class_id=1),
    }
    expected = {"contrast": "drift", "colors": "notice", "scores": "drift", "objects": "notice", "classes": "notice"}
    for quantity, window in changed.items():
        assert levels(compare(window, reference))[quantity] == expected[quantity], quantity


def test_one_place_shows_few_classes_with_good_reason():
    mixed, one_place, others = (Statistics(Task.CLASSIFICATION, tuple("abcdefgh")) for _ in range(3))
    for index, image in enumerate(pictures(64)):
        for found, class_id in ((mixed, index % 4), (one_place, 0), (others, 4 + index % 4)):
            found.add(image, probs(*np.eye(8)[class_id]))
    assert levels(compare(one_place, mixed))["classes"] == "ok"
    assert levels(compare(others, mixed))["classes"] == "notice"


def test_few_pictures_say_nothing(reference):
    dark = [image // 4 for image in pictures(MIN_IMAGES, first=1000)]
    assert compare(statistics(dark[:-1]), reference) == ()
    assert compare(statistics(dark), statistics(pictures(MIN_IMAGES - 1))) == ()
    assert compare(statistics(dark), reference) != ()


def test_other_tasks_are_compared_too():
    classes, segments = Statistics(Task.CLASSIFICATION, LABELS), Statistics(Task.SEGMENTATION, LABELS)
    unsure, other = Statistics(Task.CLASSIFICATION, LABELS), Statistics(Task.SEGMENTATION, LABELS)
    rng = np.random.default_rng(0)
    for image in pictures(60):
        score = rng.uniform(0.8, 1)
        classes.add(image, probs(score, 1 - score))
        unsure.add(image, probs(0.55, 0.45))
        segments.add(image, pixels(np.zeros((48, 64))))
        other.add(image, pixels(np.ones((48, 64))))
    assert levels(compare(unsure, classes))["scores"] == "drift"
    assert levels(compare(other, segments)) == {
        "brightness": "ok",
        "contrast": "ok",
        "sharpness": "ok",
        "colors": "ok",
        "classes": "notice",
    }


def embedded(points, *, reference=None) -> Statistics:
    found = Statistics(Task.DETECTION, LABELS)
    for image, point in zip(pictures(len(points)), points, strict=True):
        found.add(image, boxes((*OBJECT, 0.9, 0)), embedding=point)
        if reference is not None:
            found.embedding.distances.add(reference.embedding.distance(point[None]))
    if reference is None:
        found.embedding.distances.add(found.embedding.distance(np.array(points)))
    return found


def test_embeddings_tell_far_pictures_and_a_mean_elsewhere_but_not_one_place():
    rng = np.random.default_rng(0)
    reference = embedded(rng.normal(size=(200, 8)))
    same = levels(compare(embedded(rng.normal(size=(60, 8)), reference=reference), reference))
    far = levels(compare(embedded(rng.normal(size=(60, 8)) * 4, reference=reference), reference))
    elsewhere = levels(compare(embedded(rng.normal(size=(60, 8)) * 0.9 + 0.9, reference=reference), reference))
    one_place = levels(compare(embedded(rng.normal(size=(60, 8)) * 0.05 + 0.9, reference=reference), reference))
    assert (same["distance"], same["shift"]) == ("ok", "ok")
    assert far["distance"] == "drift"
    assert elsewhere["shift"] in ("notice", "drift")
    assert (one_place["distance"], one_place["shift"]) == ("ok", "ok")


def windows_after(moments) -> Windows:
    windows = Windows(Task.DETECTION, LABELS)
    for moment in moments:
        windows.add(noise(0), boxes((*OBJECT, 0.9, 0)), embedding=None, distance=None, now_s=moment)
    return windows


def test_the_hour_forgets_and_the_start_does_not():
    windows = windows_after(np.arange(0, 3 * HOUR_S, 60.0))
    assert windows.since_start.images == 180
    assert abs(windows.hour(3 * HOUR_S).images - 60) <= PART_S / 60
    assert windows.hour(5 * HOUR_S).images == 0


def test_memory_of_a_camera_does_not_grow():
    windows = windows_after(np.arange(0, 6 * HOUR_S, 120.0))
    assert len(windows._parts) <= HOUR_S / PART_S
    assert len(json.dumps(windows.to_value(6 * HOUR_S))) < 30_000


class Clock:
    def __init__(self) -> None:
        self.now_s, self.unix_s = 1000.0, 1.8e9

    def forward(self, seconds: float) -> None:
        self.now_s, self.unix_s = self.now_s + seconds, self.unix_s + seconds


def open_evidence(folder, clock, reference, *, names=("door",), sha256="a" * 64) -> Evidence:
    bundle = bundle_of(reference=None if reference is None else reference.to_value(), sha256=sha256)
    return Evidence(
        EvidenceSettings(folder),
        bundle,
        names=names,
        clock=lambda: clock.now_s,
        unix_time_s=lambda: clock.unix_s,
        free_bytes=lambda _: PLENTY,
    )


def show(evidence, clock, images, *, minutes: int, camera: int = 0) -> list:
    """One picture a second; the events of these minutes."""
    rng, events = np.random.default_rng(0), []
    for second in range(60 * minutes):
        image = images[second % len(images)]
        frame = seen(
            answer(rng),
            image=image,
            index=second,
            time_s=clock.now_s,
            camera=camera,
            captured_s=clock.now_s,
            source="door",
        )
        evidence.take(frame)
        clock.forward(1)
        events += evidence.judge_if_due()
    return events


def test_a_drift_begins_and_ends_once_and_not_for_a_moment(tmp_path, reference):
    clock = Clock()
    evidence = open_evidence(tmp_path / "e", clock, reference)
    usual = pictures(60, first=1000)
    dark = [image // 4 for image in usual]
    assert show(evidence, clock, usual, minutes=4) == []
    assert show(evidence, clock, dark, minutes=3) == []  # a minority of the hour
    began = show(evidence, clock, dark, minutes=10)
    assert {(number, event.kind) for number, event in began} == {(0, "drift_began")}
    assert [event.rule for _, event in began].count("drift:brightness") == 1
    assert {event.source for _, event in began} == {"door"}
    ended = show(evidence, clock, usual, minutes=30)
    assert sorted(event.rule for _, event in ended) == sorted(event.rule for _, event in began)
    assert {event.kind for _, event in ended} == {"drift_ended"}


def test_one_strange_judgement_is_no_event(reference):
    watch = DriftWatch(Task.DETECTION, LABELS, reference=reference, names=["door"])
    rng = np.random.default_rng(0)
    for second, image in enumerate(pictures(40, first=1000)):
        watch.add(seen(answer(rng), image=image // 4, captured_s=float(second)))
    assert [len(watch.judge(40.0)) > 0 for _ in range(DEBOUNCE + 1)] == [False] * (DEBOUNCE - 1) + [True, False]


def test_the_report_says_what_a_person_wants_to_know(tmp_path, reference):
    clock = Clock()
    evidence = open_evidence(tmp_path / "e", clock, reference, names=("door", "yard"))
    show(evidence, clock, [image // 4 for image in pictures(60)], minutes=1, camera=1)
    evidence.close()
    report = json.loads((tmp_path / "e" / "drift.json").read_text())
    assert (report["level"], report["has_reference"]) == ("drift", True)
    assert report["model"] == {"name": "tiny-detector", "version": 1, "manifest_sha256": "a" * 64}
    assert report["cameras"]["door"]["level"] == "ok"
    assert report["cameras"]["door"]["hour"] == {"images": 0, "findings": []}
    yard = report["cameras"]["yard"]
    assert (yard["level"], yard["hour"]["images"], yard["since_start"]["images"]) == ("drift", 60, 60)
    assert yard["hour"]["findings"][0]["level"] == "drift"
    assert "yard: drift: pictures are darker than in training" in evidence.summary()
    gauges = {(gauge.name, gauge.labels): gauge.value for gauge in evidence.gauges()}
    assert gauges["cvforge_drift_level", (("source", "yard"), ("quantity", "brightness"))] == 2


def test_a_restart_goes_on_where_the_last_run_was(tmp_path, reference):
    clock, usual = Clock(), pictures(60, first=1000)
    dark = [image // 4 for image in usual]
    first = open_evidence(tmp_path / "e", clock, reference)
    began = show(first, clock, dark, minutes=6)
    assert began != []
    first.close()
    clock.forward(300)
    second = open_evidence(tmp_path / "e", clock, reference)
    assert show(second, clock, dark, minutes=6) == []  # it is known
    second.close()
    report = json.loads((tmp_path / "e" / "drift.json").read_text())["cameras"]["door"]
    assert (report["hour"]["images"], report["since_start"]["images"]) == (720, 720)
    clock.forward(2 * HOUR_S)
    third = open_evidence(tmp_path / "e", clock, reference)
    third.close()
    report = json.loads((tmp_path / "e" / "drift.json").read_text())["cameras"]["door"]
    assert (report["hour"]["images"], report["since_start"]["images"]) == (0, 720)
    assert "brightness" in report["drifting"]


@pytest.mark.parametrize("change", [lambda text: text[: len(text) // 2], lambda text: "{}", lambda text: "[1, 2]"])
def test_a_damaged_state_is_named_and_counted_anew(tmp_path, reference, caplog, change):
    clock = Clock()
    first = open_evidence(tmp_path / "e", clock, reference)
    show(first, clock, pictures(60), minutes=1)
    first.close()
    state = tmp_path / "e" / "drift_state.json"
    state.write_text(change(state.read_text()))
    second = open_evidence(tmp_path / "e", clock, reference)
    second.close()
    assert "cannot be read, drift is counted anew" in caplog.text
    assert json.loads((tmp_path / "e" / "drift.json").read_text())["cameras"]["door"]["since_start"]["images"] == 0


def test_another_model_counts_anew(tmp_path, reference, caplog):
    clock = Clock()
    first = open_evidence(tmp_path / "e", clock, reference)
    show(first, clock, pictures(60), minutes=1)
    first.close()
    with caplog.at_level(logging.INFO):
        open_evidence(tmp_path / "e", clock, reference, sha256="b" * 64).close()
    assert "of another model" in caplog.text
    report = json.loads((tmp_path / "e" / "drift.json").read_text())
    assert report["cameras"]["door"]["since_start"]["images"] == 0


def test_a_bundle_without_reference_collects_and_says_so(tmp_path):
    clock = Clock()
    evidence = open_evidence(tmp_path / "e", clock, None)
    assert show(evidence, clock, pictures(60), minutes=2) == []
    evidence.close()
    report = json.loads((tmp_path / "e" / "drift.json").read_text())
    assert (report["has_reference"], report["cameras"]["door"]["since_start"]["images"]) == (False, 120)
    assert evidence.summary().endswith("the bundle has no reference statistics to compare with")


def test_a_reference_that_cannot_be_read_is_refused_with_code_7(tmp_path):
    broken = bundle_of(reference={"schema_version": 99})
    with pytest.raises(BundleError, match="schema_version 99") as caught:
        Evidence(EvidenceSettings(tmp_path / "e"), broken, names=("door",))
    assert caught.value.exit_code == 7


def test_a_full_disk_costs_the_report_and_not_the_run(tmp_path, reference, monkeypatch, caplog):
    import cvforge_edge.private_file as private_file

    clock = Clock()
    evidence = open_evidence(tmp_path / "e", clock, reference)
    show(evidence, clock, pictures(60), minutes=2)
    before = (tmp_path / "e" / "drift.json").read_bytes()

    def full(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(private_file.os, "fsync", full)
    show(evidence, clock, pictures(60), minutes=3)
    assert (tmp_path / "e" / "drift.json").read_bytes() == before
    assert sorted(path.name for path in (tmp_path / "e").iterdir() if path.suffix == ".part") == []
    assert caplog.text.count("No space left on device") == 1
    assert "3 failed" in evidence.summary()


def test_a_broken_answer_costs_its_frame_and_not_the_run(tmp_path, reference):
    clock = Clock()
    evidence = open_evidence(tmp_path / "e", clock, reference)
    evidence.take(seen(boxes((*OBJECT, 0.9, 7)), image=noise(0), captured_s=clock.now_s))  # there is no class 7
    clock.forward(JUDGE_EVERY_S)
    evidence.judge_if_due()
    assert "1 failed" in evidence.summary()
