"""Training and scoring of each task, and what a task refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from cvforge.config.schema import OptimSection
from cvforge.data.types import Batch, BoxTargets, EvaluationItem
from cvforge.errors import ConfigError, DivergedError
from cvforge.history import read_history
from cvforge.metrics.detection import MeanAveragePrecision
from cvforge.metrics.segmentation import MeanIoU
from cvforge.tasks.base import SupervisedTask
from cvforge.tasks.classification import ClassificationTask
from cvforge.tasks.detection import DetectionTask
from cvforge.tasks.segmentation import SegmentationTask
from cvforge_edge.postprocess import PostprocessSpec
from cvforge_edge.preprocess import PreprocessSpec
from cvforge_edge.types import Detections, SegmentationMap
from tiny_run import LABELS, TinyLoss, TinyNet, tiny_data, tiny_run, tiny_task

SPEC = PreprocessSpec((32, 32))
IMAGES = torch.zeros((1, 32, 32, 3), dtype=torch.uint8)


class FixedOutputs(nn.Module):
    """Predicts what it is given, and computes its own loss terms."""

    def __init__(self, outputs: dict[str, torch.Tensor]) -> None:
        super().__init__()
        self.outputs = outputs

    def predict(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        return self.outputs

    def losses(self, images: torch.Tensor, targets: object) -> dict[str, torch.Tensor]:
        return {"box": images.float().mean() + 1.0, "class": images.float().mean() + 0.5}


def scores_of(task: SupervisedTask, item: EvaluationItem, targets: object) -> dict[str, float]:
    task.validation_step(Batch(IMAGES, targets, [item]), 0)
    return task.metric.compute()


def test_a_training_run_learns_and_logs_its_terms(tmp_path: Path) -> None:
    run = tiny_run(tmp_path, max_epochs=12, lr=0.05)
    rows = read_history(tmp_path / "metrics.csv")
    assert run.checkpoints.best_score > 0.8
    assert {"train/loss", "train/cross_entropy", "train/lr"} <= rows[0].keys()
    assert [row["val/top1"] for row in rows if "val/top1" in row][-1] > 0.8
    assert sum("val/top1" in row for row in rows) == 12


def test_scores_of_single_classes_are_kept_with_the_best_checkpoint_but_not_logged(tmp_path: Path) -> None:
    run = tiny_run(tmp_path, max_epochs=2)
    assert {f"recall/{label}" for label in LABELS} <= run.checkpoints.best_scores.keys()
    logged = {name for row in read_history(tmp_path / "metrics.csv") for name in row}
    assert "val/top1" in logged
    assert not [name for name in logged if "recall" in name]


def test_detections_are_scored_in_pixels_of_the_original_image() -> None:
    geometry = SPEC.geometry((64, 128))  # a quarter, with eight grey rows above and below
    boxes = torch.tensor([[[4.0, 12.0, 12.0, 20.0]]])
    task = DetectionTask(
        FixedOutputs({"boxes": boxes, "scores": torch.tensor([[[0.1, 0.9]]])}),
        None,
        metric=MeanAveragePrecision(("cat", "dog")),
        optim=OptimSection(),
        scoring=PostprocessSpec("detection_nms", score_threshold=0.5),
    )
    truth = Detections(np.array([[16, 16, 48, 48]], np.float32), np.ones(1, np.float32), np.array([1]))
    targets = BoxTargets(boxes, torch.tensor([[1]]))
    assert scores_of(task, EvaluationItem("a", geometry, truth), targets)["map"] == pytest.approx(1.0)


def test_segmentation_is_scored_at_the_size_of_the_original_image() -> None:
    geometry = SPEC.geometry((64, 64))
    logits = torch.zeros((1, 32, 32, 2))
    logits[:, :, 16:, 1] = 5.0
    task = SegmentationTask(
        FixedOutputs({"logits": logits - 2.5}),
        None,
        metric=MeanIoU(("left", "right")),
        optim=OptimSection(),
        scoring=PostprocessSpec("segmentation_logits"),
    )
    task.net.outputs = {"logits": torch.cat((2.5 - logits[..., 1:], logits[..., 1:]), dim=3)}
    class_map = np.zeros((64, 64), np.uint8)
    class_map[:, 32:] = 1
    found = scores_of(task, EvaluationItem("a", geometry, SegmentationMap(class_map)), torch.zeros((1, 32, 32)))
    assert found["miou"] == pytest.approx(1.0)


def test_a_net_with_losses_of_its_own_is_trained_by_their_sum() -> None:
    task = DetectionTask(
        FixedOutputs({}),
        None,
        metric=MeanAveragePrecision(("cat",)),
        optim=OptimSection(),
        scoring=PostprocessSpec("detection_nms"),
    )
    terms = task._loss_terms(Batch(IMAGES, BoxTargets(torch.zeros((1, 0, 4)), torch.zeros((1, 0)))))
    assert {name: float(term) for name, term in terms.items()} == {"box": 1.0, "class": 0.5}


def test_a_net_without_a_loss_is_refused() -> None:
    with pytest.raises(ConfigError, match="loss: missing, and TinyNet computes none of its own"):
        ClassificationTask(TinyNet(), None, metric=None, optim=OptimSection(), scoring=SCORING)  # type: ignore[arg-type]


SCORING = PostprocessSpec("classification_probs")


def test_a_postprocess_of_another_task_is_refused() -> None:
    with pytest.raises(ConfigError, match="'classification_probs' is for classification, but the task is detection"):
        DetectionTask(TinyNet(), TinyLoss(), metric=None, optim=OptimSection(), scoring=SCORING)  # type: ignore[arg-type]


def test_scoring_ignores_mixed_precision() -> None:
    task, batch = tiny_task().eval(), next(iter(tiny_data().val_dataloader()))
    seen = []
    task.net.head.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        task.validation_step(batch, 0)
    assert seen == [torch.float32]


def test_one_image_is_predicted_like_in_a_batch() -> None:
    task, data = tiny_task().eval(), tiny_data()
    batch = next(iter(data.val_dataloader()))
    with torch.no_grad():
        expected = task.net.predict(batch.images)["probs"][1].numpy()
    found = task.predict_image(data.val_set[1].image_bgr, data.preprocess, SCORING)
    assert found.probs.shape == (len(LABELS),)
    np.testing.assert_allclose(found.probs, expected, atol=1e-6)


def test_a_loss_that_is_not_finite_stops_the_run_with_advice(tmp_path: Path) -> None:
    with pytest.raises(DivergedError, match=r"loss: nan in batch \d of epoch \d \(cross_entropy nan\); lower optim.lr"):
        tiny_run(tmp_path, lr=1e30, gradient_clip_norm=None)


def test_a_run_without_an_end_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="neither max_epochs nor max_steps limits the run"):
        tiny_run(tmp_path, max_epochs=-1)


def test_a_run_limited_by_steps_scores_its_last_weights(tmp_path: Path) -> None:
    run = tiny_run(tmp_path, max_epochs=-1, max_steps=8)
    assert (run.trainer.global_step, run.checkpoints.scored_step) == (8, 8)
