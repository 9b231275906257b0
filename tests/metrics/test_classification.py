"""Top-k accuracy on hand-made scores and against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import recall_score, top_k_accuracy_score

from cvforge.commands.terminal import metric_table
from cvforge.metrics.classification import TopKAccuracy
from cvforge_edge.types import ClassLabel, ClassScores


def scores(*values: float) -> ClassScores:
    return ClassScores(np.array(values, np.float32))


def test_top1_counts_images_whose_strongest_class_is_true() -> None:
    metric = TopKAccuracy(("a", "b", "c"))
    metric.update(scores(0.1, 0.7, 0.2), ClassLabel(1), "1")
    metric.update(scores(0.1, 0.7, 0.2), ClassLabel(2), "2")
    metric.update(scores(0.8, 0.1, 0.1), ClassLabel(0), "3")
    assert metric.compute() == {"top1": 2 / 3, "recall/a": 1.0, "recall/b": 1.0, "recall/c": 0.0}


def test_equal_scores_favour_the_lower_class_id_as_the_device_does() -> None:
    metric = TopKAccuracy(("a", "b"))
    metric.update(scores(0.5, 0.5), ClassLabel(1), "1")
    assert metric.compute() == {"top1": 0.0, "recall/b": 0.0}


def test_random_scores_agree_with_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(12), 300).astype(np.float32)
    true = rng.choice(np.delete(np.arange(12), 7), 300)  # class h is never true
    labels = "abcdefghijkl"
    metric = TopKAccuracy(tuple(labels))
    for i in range(300):
        metric.update(ClassScores(probabilities[i]), ClassLabel(int(true[i])), str(i))
    expected = {f"top{k}": top_k_accuracy_score(true, probabilities, k=k, labels=np.arange(12)) for k in (1, 5)}
    recalls = recall_score(true, probabilities.argmax(1), labels=np.arange(12), average=None, zero_division=np.nan)
    expected |= {f"recall/{labels[k]}": recalls[k] for k in range(12) if k != 7}
    assert metric.compute() == pytest.approx(expected)


def test_an_image_that_two_processes_saw_counts_once() -> None:
    first, second = TopKAccuracy(("a", "b")), TopKAccuracy(("a", "b"))
    first.update(scores(0.9, 0.1), ClassLabel(0), "1")
    first.update(scores(0.9, 0.1), ClassLabel(1), "2")
    second.update(scores(0.9, 0.1), ClassLabel(1), "2")
    first.merge(second.state())
    assert first.compute() == {"top1": 0.5, "recall/a": 1.0, "recall/b": 0.0}


def test_scores_of_another_data_set_are_refused() -> None:
    with pytest.raises(ValueError, match="found 3 probabilities and true class 0, but there are 2 labels"):
        TopKAccuracy(("a", "b")).update(scores(0.1, 0.7, 0.2), ClassLabel(0), "1")


def test_no_image_is_an_error() -> None:
    with pytest.raises(ValueError, match="no image was given"):
        TopKAccuracy(("a", "b")).compute()


def test_many_classes_are_shown_by_their_hundred_lowest() -> None:
    metrics = {"top1": 0.5, **{f"recall/{k}": 1 - k / 1000 for k in range(150)}}
    table = metric_table(metrics)
    shown = list(table.columns[0].cells)
    assert shown == ["top1", *(f"recall/{k}" for k in range(50, 150))]
    assert table.caption == "the 100 lowest of 150 classes"
    assert metric_table({"top1": 0.5, "recall/a": 1.0}).caption is None
