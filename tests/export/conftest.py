"""One export of each task, shared by all tests of this room: converting takes seconds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from export.tiny import LABELS, SIZE_HW, TinyData, tiny_net

from cvforge.export.bundle import ExportReport, export_bundle
from cvforge.export.plan import ExportPlan
from cvforge.export.verify import Scoring
from cvforge.metrics.classification import TopKAccuracy
from cvforge.metrics.detection import MeanAveragePrecision
from cvforge.metrics.segmentation import MeanIoU
from cvforge_edge.postprocess import PostprocessSpec
from cvforge_edge.preprocess import PreprocessSpec
from cvforge_edge.types import Task

KINDS = {
    Task.CLASSIFICATION: "classification_probs",
    Task.DETECTION: "detection_nms",
    Task.SEGMENTATION: "segmentation_logits",
}
METRICS = {
    Task.CLASSIFICATION: TopKAccuracy,
    Task.DETECTION: MeanAveragePrecision,
    Task.SEGMENTATION: MeanIoU,
}


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def quiet_stages(title: str) -> Callable[[int, int], None]:
    return lambda done, total: None


def tiny_plan(task: Task, *, formats: tuple[str, ...] = ("onnx",), **changes: object) -> ExportPlan:
    values: dict[str, object] = {
        "name": f"tiny-{task.value}",
        "task": task,
        "labels": LABELS,
        "preprocess": PreprocessSpec(SIZE_HW),
        "postprocess": PostprocessSpec(KINDS[task]),
        "formats": formats,
        "precisions": ("fp32", "fp16"),
        "metric_budget": {"fp32": 0.001, "fp16": 0.002},
        "tensor_tolerance": {"fp32": 1e-3, "fp16": 2e-2},
        "golden_images": 3,
        "split": "val",
        "data_fingerprint": "tiny-data",
        "run_id": "tiny-run",
        "provenance": {"cvforge": "0.1.0"},
    }
    return ExportPlan(**{**values, **changes})  # type: ignore[arg-type]


def tiny_scoring(task: Task) -> Scoring:
    thresholds = PostprocessSpec(KINDS[task], score_threshold=0.001, iou_threshold=0.6, max_detections=100)
    return Scoring(TinyData(task), METRICS[task](LABELS), thresholds)


def export_tiny(task: Task, target: Path, *, plan: ExportPlan | None = None, force: bool = False) -> ExportReport:
    return export_bundle(
        tiny_net(task),
        tiny_scoring(task),
        plan or tiny_plan(task),
        target=target,
        replace_existing=force,
        stages=quiet_stages,
    )


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Task], ExportReport]:
    """The bundle of a tiny net of a task with every format and precision, made once."""
    reports: dict[Task, ExportReport] = {}

    def export(task: Task) -> ExportReport:
        if task not in reports:
            target = tmp_path_factory.mktemp("bundles") / task.value
            reports[task] = export_tiny(task, target, plan=tiny_plan(task, formats=("onnx", "tflite")))
        return reports[task]

    return export
