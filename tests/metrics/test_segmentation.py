"""Mean IoU on hand-made maps and against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, jaccard_score

from cvforge.metrics.segmentation import MeanIoU
from cvforge_edge.types import VOID_CLASS_ID, SegmentationMap


def class_map(rows: list[list[int]]) -> SegmentationMap:
    return SegmentationMap(np.array(rows, np.uint8))


def test_void_pixels_are_not_scored() -> None:
    metric = MeanIoU(("sky", "road"))
    metric.update(class_map([[0, 1], [1, 0]]), class_map([[0, 1], [1, VOID_CLASS_ID]]), "1")
    assert metric.compute() == {"miou": 1.0, "pixel_accuracy": 1.0, "iou/sky": 1.0, "iou/road": 1.0}


def test_a_class_that_never_occurs_is_left_out_of_the_mean() -> None:
    metric = MeanIoU(("sky", "road", "boat"))
    metric.update(class_map([[0, 0, 0, 1]]), class_map([[0, 0, 1, 1]]), "1")
    assert metric.compute() == pytest.approx(
        {"miou": (2 / 3 + 1 / 2) / 2, "pixel_accuracy": 0.75, "iou/sky": 2 / 3, "iou/road": 0.5}
    )


def test_a_class_that_is_only_predicted_scores_zero() -> None:
    metric = MeanIoU(("sky", "road"))
    metric.update(class_map([[0, 1]]), class_map([[0, 0]]), "1")
    assert metric.compute() == {"miou": 0.25, "pixel_accuracy": 0.5, "iou/sky": 0.5, "iou/road": 0.0}


def test_random_maps_agree_with_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    metric = MeanIoU(tuple("abcdef"))
    truths = [rng.integers(0, 6, (17, 23)) for _ in range(5)]
    predictions = [np.where(rng.random(t.shape) < 0.6, t, rng.integers(0, 6, t.shape)) for t in truths]
    voids = [rng.random(t.shape) < 0.1 for t in truths]
    for i, (prediction, truth, void) in enumerate(zip(predictions, truths, voids, strict=True)):
        marked = np.where(void, VOID_CLASS_ID, truth).astype(np.uint8)
        metric.update(SegmentationMap(prediction.astype(np.uint8)), SegmentationMap(marked), str(i))
    kept = ~np.stack(voids)
    true, found = np.stack(truths)[kept], np.stack(predictions)[kept]
    ious = jaccard_score(true, found, average=None)
    computed = metric.compute()
    assert computed["miou"] == pytest.approx(ious.mean())
    assert computed["pixel_accuracy"] == pytest.approx(accuracy_score(true, found))
    assert [computed[f"iou/{label}"] for label in "abcdef"] == pytest.approx(ious.tolist())


def test_an_image_that_two_processes_saw_counts_once() -> None:
    first, second = MeanIoU(("sky", "road")), MeanIoU(("sky", "road"))
    first.update(class_map([[0, 1]]), class_map([[0, 0]]), "1")
    second.update(class_map([[0, 1]]), class_map([[0, 0]]), "1")
    second.update(class_map([[1, 1]]), class_map([[1, 1]]), "2")
    first.merge(second.state())
    assert first.compute()["pixel_accuracy"] == 0.75


def test_maps_of_different_size_are_refused() -> None:
    with pytest.raises(ValueError, match=r"7: prediction is \(1, 2\) but truth \(2, 1\)"):
        MeanIoU(("sky", "road")).update(class_map([[0, 1]]), class_map([[0], [1]]), "7")


def test_a_class_id_without_a_label_is_refused() -> None:
    with pytest.raises(ValueError, match="found class id 9, but there are 2 labels"):
        MeanIoU(("sky", "road")).update(class_map([[0, 1]]), class_map([[0, 9]]), "1")


def test_only_void_is_an_error() -> None:
    metric = MeanIoU(("sky", "road"))
    metric.update(class_map([[0, 1]]), class_map([[VOID_CLASS_ID, VOID_CLASS_ID]]), "1")
    with pytest.raises(ValueError, match="no image with a labelled pixel"):
        metric.compute()
