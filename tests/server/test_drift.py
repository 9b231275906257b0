"""A server's drift is the device's: the same figures for the same pictures, bounded work, and never an answer less."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cvforge_edge.bundle import open_bundle
from cvforge_edge.errors import BundleError
from cvforge_edge.evidence.drift import JUDGE_EVERY_S, DriftWatch
from cvforge_edge.evidence.findings import compare
from cvforge_edge.evidence.reference import read_reference
from cvforge_edge.manifest import read_manifest, write_manifest
from cvforge_edge.predictor import Predictor
from cvforge_edge.stats.image import measure_image, shrunk
from cvforge_edge.stats.statistics import Statistics
from cvforge_edge.status import Gauge
from cvforge_server.commands import archive
from cvforge_server.core import Core
from cvforge_server.drift import AT_ONCE, FOUND, IMAGES, LEVEL, PER_S, Drift
from cvforge_server.images import Limits
from cvforge_server.request import Part
from edge.conftest import build_bundle
from server.asking import ask
from server.bundles import add_reference
from server.conftest import JsonLines
from server.pictures import pictures_in_light, png_of


class Clock:
    """Stands still unless it is told to go."""

    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = build_bundle(tmp_path_factory.mktemp("drift") / "b", "detector", formats=("onnx",), golden=False)
    return add_reference(folder, pictures_in_light(40))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def core(bundle: Path, clock: Clock) -> Iterator[Core]:
    opened = open_bundle(bundle)
    made = Core(
        Predictor.of_bundle(opened, backend="onnxruntime"),
        fingerprint=opened.manifest_sha256,
        limits=Limits(),
        drift=Drift.of_bundle(opened, clock=clock),
    )
    yield made
    made.close()


def judged(core: Core, clock: Clock) -> tuple[Gauge, ...]:
    clock.now_s += JUDGE_EVERY_S
    assert core.drift is not None
    return core.drift.judge_if_due()


def by_quantity(gauges: Sequence[Gauge], name: str) -> dict[str, float]:
    return {dict(gauge.labels)["quantity"]: gauge.value for gauge in gauges if gauge.name == name}


def test_a_picture_is_measured_as_small_as_kept_with_the_same_result():
    for size_hw in ((400, 500), (37, 53), (320, 320), (1, 900)):
        image = np.random.default_rng(0).integers(0, 256, (*size_hw, 3)).astype(np.uint8)
        small, whole = measure_image(shrunk(image)), measure_image(image)
        assert (small.brightness, small.contrast, small.sharpness) == (
            whole.brightness,
            whole.contrast,
            whole.sharpness,
        )
        assert (small.color_counts == whole.color_counts).all() and max(shrunk(image).shape[:2]) <= 320


def test_figures_are_those_of_the_statistics_of_the_same_pictures(core: Core, clock: Clock, bundle: Path):
    shown = pictures_in_light(AT_ONCE, light=0.3)
    for image in shown:
        assert ask(core, png_of(image)).status == 200
    gauges = judged(core, clock)
    opened = open_bundle(bundle)
    window, reference = Statistics(opened.manifest.task, opened.manifest.labels), read_reference(opened)
    assert reference is not None and reference.images == 40
    with Predictor.of_bundle(opened, backend="onnxruntime") as predictor:
        for image in shown:
            window.add(image, predictor.predict(image))
    expected = compare(window, reference)
    assert by_quantity(gauges, FOUND) == pytest.approx({one.quantity: one.found for one in expected})
    numbers = {"ok": 0.0, "notice": 1.0, "drift": 2.0}
    assert by_quantity(gauges, LEVEL) == {one.quantity: numbers[one.level] for one in expected}
    assert by_quantity(gauges, LEVEL)["brightness"] == 2
    assert [gauge.value for gauge in gauges if gauge.name == IMAGES] == [AT_ONCE]


def test_pictures_like_those_of_the_reference_are_no_drift(core: Core, clock: Clock):
    for image in pictures_in_light(AT_ONCE):
        ask(core, png_of(image))
    levels = by_quantity(judged(core, clock), LEVEL)
    assert levels.keys() >= {"brightness", "contrast", "sharpness", "colors", "scores", "objects", "classes"}
    assert set(levels.values()) == {0}


def test_what_a_client_asks_for_does_not_change_what_is_measured(core: Core, clock: Clock):
    for image in pictures_in_light(AT_ONCE):
        assert ask(core, png_of(image), score_threshold="1", classes="blue").objects == 0
    gauges = judged(core, clock)
    assert by_quantity(gauges, FOUND)["objects"] > 0
    assert by_quantity(gauges, LEVEL)["objects"] == 0


def test_only_so_many_pictures_a_second_are_measured(core: Core, clock: Clock):
    picture = png_of(pictures_in_light(1, size_hw=(40, 50))[0])

    def measured() -> float:
        return next(gauge.value for gauge in judged(core, clock) if gauge.name == IMAGES)

    def ask_often() -> None:
        for _ in range(4):
            core.answer([[Part(f"image{i}", picture, "image/png") for i in range(16)]], ids=["r"])

    ask_often()
    assert measured() == AT_ONCE
    ask_often()
    assert measured() == 2 * AT_ONCE
    clock.now_s += 5
    core.answer([[Part("image", picture, "image/png")]] * 3, ids=list("abc"))
    ask_often()
    clock.now_s += 3
    ask_often()
    assert measured() == 3 * AT_ONCE + 3 * PER_S


def test_nothing_is_told_before_it_is_due_and_few_pictures_say_nothing(core: Core, clock: Clock):
    assert core.drift is not None
    ask(core, png_of(pictures_in_light(1)[0]))
    assert core.drift.judge_if_due() == ()
    clock.now_s += JUDGE_EVERY_S - 0.001
    assert core.drift.judge_if_due() == ()
    clock.now_s += 0.001
    assert [(gauge.name, gauge.value) for gauge in core.drift.judge_if_due()] == [(IMAGES, 1)]
    assert core.drift.judge_if_due() == ()


def test_what_was_told_last_can_be_had_again_until_something_else_is(core: Core, clock: Clock):
    assert core.drift is not None and core.drift.newest() == ()
    ask(core, png_of(pictures_in_light(1)[0]))
    gauges = judged(core, clock)
    assert len(gauges) == 1 and core.drift.newest() == core.drift.newest() == gauges
    ask(core, png_of(pictures_in_light(1)[0]))
    clock.now_s += JUDGE_EVERY_S
    assert [gauge.value for gauge in core.drift.newest()] == [2]


def test_a_comparison_that_fails_is_logged_once_and_fails_nothing(
    core: Core, clock: Clock, json_lines: JsonLines, monkeypatch: pytest.MonkeyPatch
):
    def fail(*_: object) -> None:
        raise ZeroDivisionError("broken")

    assert core.drift is not None and judged(core, clock)
    monkeypatch.setattr(DriftWatch, "judge", fail)
    assert [judged(core, clock) for _ in range(3)] == [()] * 3
    assert core.drift.newest() == ()  # not the figures of an hour that has passed
    (line,) = json_lines()
    assert (line["level"], line["message"]) == ("error", "drift: the last hour cannot be compared; said once")
    assert "ZeroDivisionError: broken" in line["exception"]


def test_a_drift_that_lasts_is_a_line_of_the_log(core: Core, clock: Clock, json_lines: JsonLines):
    for image in pictures_in_light(AT_ONCE, light=0.2):
        ask(core, png_of(image))
    assert [len(judged(core, clock)) > 1 for _ in range(3)] == [True] * 3
    began = [line for line in json_lines() if line["event"] == "drift_began" and line["quantity"] == "brightness"]
    assert len(began) == 1 and began[0]["level"] == "warning"
    assert began[0]["text"].startswith("pictures are darker than in training: median brightness ")


def test_a_picture_that_cannot_be_measured_is_answered_all_the_same(
    core: Core, clock: Clock, json_lines: JsonLines, monkeypatch: pytest.MonkeyPatch
):
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("broken")

    monkeypatch.setattr(DriftWatch, "add", fail)
    image = png_of(pictures_in_light(1)[0])
    assert [ask(core, image).status for _ in range(3)] == [200] * 3
    (line,) = json_lines()
    assert (line["level"], line["request_id"]) == ("error", "r") and "ZeroDivisionError: broken" in line["exception"]
    assert [gauge.value for gauge in judged(core, clock)] == [0]


def test_a_bundle_without_reference_and_a_server_that_is_not_to_judge_have_no_drift(bundle: Path, tmp_path: Path):
    bare = build_bundle(tmp_path / "bare", "detector", formats=("onnx",), golden=False)
    for folder, options in ((bare, {"drift_every_s": 60}), (bundle, {})):
        core = Core.from_bundle(folder, **options)
        assert core.drift is None and ask(core, png_of(pictures_in_light(1)[0])).status == 200
        core.close()
    core = Core.from_bundle(bundle, drift_every_s=60)
    assert core.drift is not None
    core.close()


def test_reference_statistics_that_cannot_be_read_are_refused_when_the_archive_is_made(tmp_path: Path):
    folder = build_bundle(tmp_path / "b", "detector", formats=("onnx",), golden=False)
    write_manifest(replace(read_manifest(folder), reference_statistics={"schema_version": 99}), folder)
    with pytest.raises(BundleError, match="statistics of schema_version 99") as caught:
        archive.main(["--bundle", str(folder), "--store", str(tmp_path / "store")])
    assert caught.value.exit_code == 7 and not (tmp_path / "store").exists()
    with pytest.raises(BundleError, match="schema_version 99"):
        Core.from_bundle(folder, drift_every_s=60)
