"""Mean average precision against pycocotools, on random and on real data."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from pycocotools.cocoeval import COCOeval

from cvforge.metrics.detection import MeanAveragePrecision
from cvforge_edge.types import Detections
from metrics.random_boxes import boxes, jittered, random_truth, reference_evaluation

BACKENDS = ("hotcoco", "pycocotools")
STAT_KEYS = {"map": 0, "map50": 1, "map75": 2, "map_small": 3, "map_medium": 4, "map_large": 5, "mar100": 8}


def assert_equal_to_reference(pairs: list[tuple[Detections, Detections]], num_classes: int, backend: str) -> None:
    metric = MeanAveragePrecision(tuple(f"class {c}" for c in range(num_classes)), backend=backend)
    for i, (prediction, truth) in enumerate(pairs):
        metric.update(prediction, truth, f"{i:05d}")
    computed, expected = metric.compute(), reference_evaluation(pairs, num_classes).stats
    for key, position in STAT_KEYS.items():
        assert computed.get(key, -1.0) == pytest.approx(expected[position], abs=1e-6), key


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_random_data_with_crowds_areas_and_ties_scores_as_pycocotools_does(seed: int, backend: str) -> None:
    rng = np.random.default_rng(seed)
    truths = [random_truth(rng, 5) for _ in range(30)]
    pairs = [(jittered(truth, rng, num_classes=5), truth) for truth in truths]
    assert_equal_to_reference(pairs, 5, backend)


@pytest.mark.parametrize("backend", BACKENDS)
def test_real_coco_annotations_with_jittered_boxes_score_as_pycocotools_does(shared_data: Path, backend: str) -> None:
    annotation_file = next((shared_data / "detection" / "coco-open").rglob("*instances*val*.json"))
    coco = json.loads(annotation_file.read_text())
    class_ids = {category["id"]: k for k, category in enumerate(sorted(coco["categories"], key=lambda c: c["id"]))}
    rng = np.random.default_rng(0)
    pairs = []
    for image in coco["images"]:
        annotations = [a for a in coco["annotations"] if a["image_id"] == image["id"]]
        xywh = np.array([a["bbox"] for a in annotations], np.float32).reshape(-1, 4)
        truth = Detections(
            np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], 1),
            np.ones(len(annotations), np.float32),
            np.array([class_ids[a["category_id"]] for a in annotations], np.int64),
            is_crowd=np.array([bool(a["iscrowd"]) for a in annotations], np.bool_),
            areas=np.array([a["area"] for a in annotations], np.float32),
        )
        pairs.append((jittered(truth, rng, num_classes=len(class_ids)), truth))
    assert len(pairs) > 40 and any(truth.is_crowd.any() for _, truth in pairs)
    assert_equal_to_reference(pairs, len(class_ids), backend)


def test_without_hotcoco_pycocotools_computes_the_same_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(4)
    metric = MeanAveragePrecision(("a", "b", "c"))
    for i in range(20):
        truth = random_truth(rng, 3)
        metric.update(jittered(truth, rng, num_classes=3), truth, f"{i}")
    by_pycocotools = []
    accumulate = COCOeval.accumulate
    monkeypatch.setattr(COCOeval, "accumulate", lambda self: by_pycocotools.append(self) or accumulate(self))
    expected = metric.compute()
    assert by_pycocotools == []
    monkeypatch.setitem(sys.modules, "hotcoco", None)  # as if it were not installed
    assert metric.compute() == pytest.approx(expected, abs=1e-7)
    assert len(by_pycocotools) == 1


@pytest.mark.parametrize("backend", BACKENDS)
def test_one_exact_box_scores_one_and_its_label_is_named(backend: str) -> None:
    metric = MeanAveragePrecision(("cat", "dog"), backend=backend)
    metric.update(boxes((0, 0, 50, 50), class_ids=[1], scores=[0.9]), boxes((0, 0, 50, 50), class_ids=[1]), "a")
    expected = dict.fromkeys(("map", "map50", "map75", "mar100", "map_medium", "ap/dog"), 1.0)
    assert metric.compute() == pytest.approx(expected)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_box_of_iou_six_tenths_counts_at_the_three_lowest_thresholds(backend: str) -> None:
    metric = MeanAveragePrecision(("cat",), backend=backend)
    metric.update(boxes((0, 0, 100, 62), class_ids=[0], scores=[0.9]), boxes((0, 0, 100, 100), class_ids=[0]), "a")
    computed = metric.compute()
    assert (computed["map50"], computed["map75"], computed["map"]) == pytest.approx((1.0, 0.0, 0.3))


@pytest.mark.parametrize("backend", BACKENDS)
def test_images_without_any_detection_score_zero(backend: str) -> None:
    metric = MeanAveragePrecision(("cat",), backend=backend)
    metric.update(Detections.empty(), boxes((0, 0, 10, 10), class_ids=[0]), "a")
    metric.update(Detections.empty(), Detections.empty(), "b")
    assert metric.compute() == {"map": 0, "map50": 0, "map75": 0, "mar100": 0, "map_small": 0, "ap/cat": 0}


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_data_set_without_objects_scores_zero_and_has_no_label_scores(backend: str) -> None:
    metric = MeanAveragePrecision(("cat",), backend=backend)
    metric.update(boxes((0, 0, 10, 10), class_ids=[0], scores=[0.5]), Detections.empty(), "a")
    assert metric.compute() == {"map": 0, "map50": 0, "map75": 0, "mar100": 0}


def test_an_image_that_two_processes_saw_counts_once() -> None:
    rng = np.random.default_rng(3)
    truths = [random_truth(rng, 3) for _ in range(9)]
    pairs = [(jittered(truth, rng, num_classes=3), truth) for truth in truths]
    whole, first, second = (MeanAveragePrecision(("a", "b", "c")) for _ in range(3))
    for i, pair in enumerate(pairs):
        whole.update(*pair, f"{i}")
        if i <= 5:
            first.update(*pair, f"{i}")
        if i >= 4:
            second.update(*pair, f"{i}")
    second.merge(first.state())
    assert second.compute() == whole.compute()


def test_a_reset_forgets_the_images() -> None:
    metric = MeanAveragePrecision(("cat",))
    metric.update(Detections.empty(), boxes((0, 0, 10, 10), class_ids=[0]), "a")
    metric.reset()
    with pytest.raises(ValueError, match="no image was given"):
        metric.compute()


def test_a_class_id_without_a_label_is_named() -> None:
    metric = MeanAveragePrecision(("cat",))
    metric.update(Detections.empty(), boxes((0, 0, 10, 10), class_ids=[4]), "a")
    with pytest.raises(ValueError, match=r"truth: found class id 4, but there are 1 labels"):
        metric.compute()


def test_an_unknown_backend_is_refused() -> None:
    with pytest.raises(ValueError, match="accepted auto, hotcoco, pycocotools"):
        MeanAveragePrecision(("cat",), backend="coco")
