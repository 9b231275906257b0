"""Image measures against numpy, statistics of every task, merging in any order, and JSON that is refused for its reasons."""

from __future__ import annotations

import json
from typing import Any

import cv2
import numpy as np
import pytest

from cvforge_edge.errors import BundleError, SpecError
from cvforge_edge.stats.image import measure_image
from cvforge_edge.stats.statistics import Statistics
from cvforge_edge.types import ClassScores, Detections, Prediction, SegmentationMap, Task

LABELS = ("a", "b", "c")


def detections(scores: list[float], class_ids: list[int]) -> Detections:
    return Detections(
        np.zeros((len(scores), 4), np.float32), np.array(scores, np.float32), np.array(class_ids, np.int64)
    )


def random_prediction(task: Task, rng: np.random.Generator) -> Prediction:
    if task is Task.CLASSIFICATION:
        return ClassScores(rng.dirichlet(np.ones(3)).astype(np.float32))
    if task is Task.SEGMENTATION:
        return SegmentationMap(rng.integers(0, 3, (6, 9)).astype(np.uint8))
    n = int(rng.integers(0, 7))
    return detections(rng.random(n).tolist(), rng.integers(0, 3, n).tolist())


def statistics(task: Task, *, seed: int = 0, images: int = 5) -> Statistics:
    rng = np.random.default_rng(seed)
    made = Statistics(task, LABELS)
    for _ in range(images):
        image = rng.integers(0, 256, (40, 50, 3)).astype(np.uint8)
        made.add(image, random_prediction(task, rng))
    return made


def document(task: Task = Task.DETECTION) -> dict[str, Any]:
    return json.loads(statistics(task).to_json())


def refused(value: Any, *, task: Task = Task.DETECTION, labels: tuple[str, ...] = LABELS) -> str:
    with pytest.raises(BundleError) as caught:
        Statistics.from_value(value, task=task, labels=labels, where="a/manifest.json")
    assert BundleError.exit_code == 7
    assert str(caught.value).startswith("a/manifest.json: ")
    return str(caught.value)


def test_an_image_is_measured_as_numpy_would() -> None:
    image = np.random.default_rng(3).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY).astype(np.float64)
    padded = np.pad(grey, 1, mode="reflect")
    around = padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:]
    measured = measure_image(image)
    assert measured.brightness == pytest.approx(grey.mean())
    assert measured.contrast == pytest.approx(grey.std())
    assert 10**measured.sharpness - 1 == pytest.approx((around - 4 * grey).var())
    expected = [np.histogram(image[..., channel], 32, (0, 256))[0].tolist() for channel in range(3)]
    assert measured.color_counts.tolist() == expected


def test_every_image_has_the_same_weight_in_the_colours_whatever_its_size() -> None:
    for height, width in ((1, 1), (3, 700), (1080, 1920)):
        image = np.zeros((height, width, 3), np.uint8)
        image[..., 2] = 255
        counts = measure_image(image).color_counts
        assert counts.sum(1).tolist() == [4096, 4096, 4096]
        assert counts[:, 0].tolist() == [4096, 4096, 0]
        assert counts[2, 31] == 4096


def test_a_plain_image_has_no_contrast_and_no_sharpness_and_blur_lowers_sharpness() -> None:
    plain = measure_image(np.full((48, 64, 3), 90, np.uint8))
    assert (plain.brightness, plain.contrast, plain.sharpness) == (90.0, 0.0, 0.0)
    scene = np.random.default_rng(4).integers(0, 2, (24, 32, 1)).astype(np.uint8) * 200
    scene = cv2.resize(np.repeat(scene, 3, axis=2), (640, 480), interpolation=cv2.INTER_NEAREST)
    sharpness = [measure_image(cv2.GaussianBlur(scene, (0, 0), sigma)).sharpness for sigma in (0.1, 2, 4, 8)]
    assert sharpness == sorted(sharpness, reverse=True)
    assert sharpness[0] - sharpness[-1] > 1.5


def test_sharpness_does_not_depend_on_the_resolution_of_the_camera() -> None:
    scene = np.random.default_rng(5).integers(0, 256, (240, 320, 3)).astype(np.uint8)
    scene = cv2.GaussianBlur(scene, (0, 0), 2)
    large = cv2.resize(scene, (1280, 960), interpolation=cv2.INTER_CUBIC)
    assert measure_image(large).sharpness == pytest.approx(measure_image(scene).sharpness, abs=0.1)


@pytest.mark.parametrize(
    "wrong",
    [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((0, 4, 3), np.uint8), np.ones((2, 2, 3))],
)
def test_what_is_no_image_is_refused(wrong: np.ndarray) -> None:
    with pytest.raises(SpecError, match=r"expected \(height, width, 3\) uint8"):
        measure_image(wrong)


def test_detections_count_objects_scores_and_classes() -> None:
    made = Statistics(Task.DETECTION, LABELS)
    image = np.zeros((4, 4, 3), np.uint8)
    made.add(image, detections([0.25, 0.75], [2, 2]))
    made.add(image, detections([], []))
    made.add(image, detections([0.5], [0]))
    assert made.images == 3
    found = made.prediction
    assert found.objects is not None and found.scores is not None
    assert found.objects.counts[:3].tolist() == [1, 1, 1]
    assert (found.scores.count, found.scores.mean) == (3, 0.5)
    assert found.classes.totals.tolist() == [1, 0, 2]
    assert found.classes.variances == pytest.approx(np.var([[0, 0, 2], [0, 0, 0], [1, 0, 0]], axis=0))


def test_classes_count_the_strongest_and_maps_the_share_of_pixels() -> None:
    image = np.zeros((4, 4, 3), np.uint8)
    made = Statistics(Task.CLASSIFICATION, LABELS)
    made.add(image, ClassScores(np.array([0.25, 0.5, 0.25], np.float32)))
    assert made.prediction.classes.totals.tolist() == [0, 1, 0]
    assert made.prediction.scores is not None and made.prediction.scores.mean == 0.5
    made = Statistics(Task.SEGMENTATION, LABELS)
    made.add(image, SegmentationMap(np.array([[0, 0], [0, 2]], np.uint8)))
    assert made.prediction.classes.totals.tolist() == [0.75, 0, 0.25]
    assert set(made.to_value()["prediction"]) == {"classes"}


@pytest.mark.parametrize(
    ("task", "prediction", "words"),
    [
        (Task.DETECTION, ClassScores(np.ones(3, np.float32)), "found ClassScores, expected that of a detection model"),
        (Task.CLASSIFICATION, detections([], []), "found Detections, expected that of a classification model"),
        (Task.DETECTION, detections([0.5], [3]), r"found class ids 3\.\.3, accepted 0\.\.2"),
        (Task.DETECTION, detections([np.nan], [1]), "NaN or Infinity"),
        (Task.SEGMENTATION, SegmentationMap(np.full((2, 2), 255, np.uint8)), r"class ids 255\.\.255"),
    ],
)
def test_a_prediction_that_cannot_be_counted_is_refused_and_nothing_is_taken_in(
    task: Task, prediction: Prediction, words: str
) -> None:
    made = statistics(task)
    before = made.to_json()
    with pytest.raises(SpecError, match=words):
        made.add(np.zeros((4, 4, 3), np.uint8), prediction)
    with pytest.raises(SpecError, match="image: found"):
        made.add(np.zeros((4, 4), np.uint8), random_prediction(task, np.random.default_rng(0)))
    assert made.to_json() == before


@pytest.mark.parametrize("task", list(Task))
def test_parts_merge_to_the_whole_in_any_order(task: Task) -> None:
    rng = np.random.default_rng(6)
    pairs = [(rng.integers(0, 256, (9, 9, 3)).astype(np.uint8), random_prediction(task, rng)) for _ in range(12)]
    whole, parts = Statistics(task, LABELS), [Statistics(task, LABELS) for _ in range(3)]
    for index, (image, prediction) in enumerate(pairs):
        whole.add(image, prediction)
        parts[index % 3].add(image, prediction)
    joined = Statistics(task, LABELS)
    for part in reversed(parts):
        joined.merge(part)
    one, other = whole.to_value(), joined.to_value()
    assert other["input"]["colors"] == one["input"]["colors"]
    for name in ("brightness", "contrast", "sharpness"):
        assert other["input"][name].pop("counts") == one["input"][name].pop("counts")
        assert other["input"][name] == pytest.approx(one["input"][name], rel=1e-9)
    assert other["prediction"]["classes"]["images"] == 12
    for column in ("totals", "squared_deviations"):
        assert other["prediction"]["classes"][column] == pytest.approx(one["prediction"]["classes"][column], rel=1e-9)
    if joined.prediction.scores is not None and whole.prediction.scores is not None:
        assert joined.prediction.scores.counts.tolist() == whole.prediction.scores.counts.tolist()


def test_statistics_of_another_task_or_label_set_are_not_merged() -> None:
    with pytest.raises(SpecError, match="statistics of segmentation cannot join those of detection"):
        statistics(Task.DETECTION).merge(statistics(Task.SEGMENTATION))
    with pytest.raises(SpecError, match="of 2 classes cannot join those of 3"):
        statistics(Task.DETECTION).merge(Statistics(Task.DETECTION, ("a", "b")))


@pytest.mark.parametrize("task", list(Task))
@pytest.mark.parametrize("images", [0, 1, 5])
def test_statistics_read_back_equal_and_can_be_continued(task: Task, images: int) -> None:
    made = statistics(task, images=images)
    again = Statistics.from_json(made.to_json(), task=task, labels=LABELS, where="x")
    assert again.to_json() == made.to_json()
    assert again.images == images
    again.merge(statistics(task, seed=1))
    made.merge(statistics(task, seed=1))
    assert again.to_json() == made.to_json()


def test_equal_values_whose_mean_is_rounded_read_back() -> None:
    made = Statistics(Task.CLASSIFICATION, LABELS)
    for _ in range(7):
        made.add(np.full((3, 3, 3), 77, np.uint8), ClassScores(np.array([0.1, 0.7, 0.2], np.float32)))
    assert Statistics.from_json(made.to_json(), task=Task.CLASSIFICATION, labels=LABELS, where="x").images == 7


def _paths(value: Any, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    if not isinstance(value, dict):
        return [path]
    return [*([path] if path else []), *(p for key, inner in value.items() for p in _paths(inner, (*path, key)))]


def _place(value: Any, path: tuple[str, ...]) -> Any:
    for key in path[:-1]:
        value = value[key]
    return value


@pytest.mark.parametrize("path", _paths(document()), ids=".".join)
def test_every_key_is_needed_and_refuses_another_type(path: tuple[str, ...]) -> None:
    value = document()
    del _place(value, path)[path[-1]]
    assert f"{'.'.join(path)}: missing" in refused(value)
    for wrong in (None, True, "text", [None], {"a": 1}):
        value = document()
        _place(value, path)[path[-1]] = wrong
        assert ".".join(path) in refused(value)


@pytest.mark.parametrize(
    ("path", "wrong", "words"),
    [
        ("input.brightness.counts", [1] * 63, "found 63 numbers, expected 64 counts of at least 0"),
        ("input.brightness.counts", [-1] + [1] * 63, "expected 64 counts of at least 0"),
        ("input.brightness.counts", [2**60] + [0] * 63, "add up to at most 9007199254740992"),
        ("input.colors.red", [], "found 0 numbers, expected 32 counts"),
        ("input.contrast.high", 1000, r"contrast.low: found bins over 0..1000, accepted 0..128"),
        ("input.contrast.squared_deviations", -1, "squared_deviations: found -1, accepted at least 0"),
        ("input.sharpness.mean", 99, "mean: found 99, which is not between minimum"),
        ("input.sharpness.counts", [0] * 50, "all are 0, but the mean or another number is not"),
        ("prediction.classes.totals", [1.0, 2.0], "found 2 numbers, expected 3 of at least 0, one a label"),
        ("prediction.classes.totals", [1.0, 2.0, -1], "expected 3 of at least 0"),
        ("prediction.classes.images", 0, "images: found 0, but there are amounts"),
        ("prediction.classes.images", 6, "different numbers of images: [5, 6]"),
        ("input.extra", 1, "input.extra: unknown key"),
        ("prediction.score", {}, "unknown key, did you mean scores"),
        ("schema_version", 3, "statistics of schema_version 3, accepted 1, 2; export the bundle again"),
    ],
)
def test_numbers_that_cannot_be_are_refused(path: str, wrong: Any, words: str) -> None:
    value = document()
    keys = tuple(path.split("."))
    _place(value, keys)[keys[-1]] = wrong
    assert words in refused(value)


def test_all_problems_are_reported_at_once_and_empty_statistics_of_old_bundles_too() -> None:
    value = document()
    value["input"]["brightness"]["mean"] = "bright"
    value["prediction"]["scores"]["counts"] = []
    message = refused(value)
    assert "input.brightness.mean" in message
    assert "prediction.scores.counts" in message
    assert "schema_version: missing" in refused({})
    assert "objects: unknown key" in refused(document(), task=Task.CLASSIFICATION)
    assert "expected 2 of at least 0, one a label" in refused(document(), labels=("a", "b"))


@pytest.mark.parametrize("text", ["", "[", '{"schema_version": 1e999}', f'{{"schema_version": {"9" * 400}}}'])
def test_text_that_is_no_json_is_refused_without_a_traceback(text: str) -> None:
    with pytest.raises(BundleError, match="x: no statistics: .*; export the bundle again"):
        Statistics.from_json(text, task=Task.DETECTION, labels=LABELS, where="x")
