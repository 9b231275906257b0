"""Tiny networks of the contract, and data sets in memory whose truth is what those networks say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from cvforge.export.bundle import write_bundle
from cvforge.export.plan import ExportPlan
from cvforge.export.report import ExportReport
from cvforge.export.sign import SigningKey
from cvforge.export.source import network_source
from cvforge.export.verify import Scoring
from cvforge.metrics.classification import TopKAccuracy
from cvforge.metrics.detection import MeanAveragePrecision
from cvforge.metrics.segmentation import MeanIoU
from cvforge_edge.postprocess import PostprocessSpec
from cvforge_edge.preprocess import PreprocessSpec
from cvforge_edge.types import ClassLabel, Detections, SegmentationMap, Task

SIZE_HW = (32, 48)
LABELS = ("red", "green", "blue")
STRIDE = 8


class TinyBackbone(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1, bias=False),
            nn.BatchNorm2d(8),
            nn.Hardswish(),
            nn.Conv2d(8, 16, 3, 2, 1),
            nn.SiLU(),
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.layers(images.permute(0, 3, 1, 2).float() / 127.5 - 1.0)


class TinyClassifier(nn.Module):
    """Says which colour channel is the brightest, with a bit of noise from random weights."""

    export_blocker: str | None = None

    def __init__(self) -> None:
        super().__init__()
        self.backbone = TinyBackbone()
        self.head = nn.Linear(16, len(LABELS))

    def predict(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        colour = images.float().mean(dim=(1, 2)) / 16.0
        return {"probs": (colour + 0.1 * self.head(self.backbone(images).mean(dim=(2, 3)))).softmax(1)}


class TinyDetector(nn.Module):
    """A box around every cell, of the class of its brightest channel; cells of dark background score low."""

    export_blocker: str | None = None

    def __init__(self) -> None:
        super().__init__()
        self.backbone = TinyBackbone()
        self.head = nn.Conv2d(16, 4, 3, 2, 1)
        self.pool = nn.AvgPool2d(STRIDE)

    def predict(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        colours = self.pool(images.permute(0, 3, 1, 2).float())  # (b, 3, h/8, w/8)
        scores = ((colours.flatten(2).transpose(1, 2) - 128) / 16).sigmoid()
        jitter = self.head(self.backbone(images)).flatten(2).transpose(1, 2).tanh() * 0.2
        height, width = colours.shape[2:]
        grid_y, grid_x = torch.meshgrid(torch.arange(height) * 8.0, torch.arange(width) * 8.0, indexing="ij")
        corners = torch.stack((grid_x, grid_y, grid_x + STRIDE, grid_y + STRIDE), dim=-1).reshape(-1, 4)
        return {"boxes": corners + jitter, "scores": scores}


class TinySegmenter(nn.Module):
    """Logits at half resolution: the colour channels, plus noise from random weights."""

    export_blocker: str | None = None

    def __init__(self) -> None:
        super().__init__()
        self.backbone = TinyBackbone()
        self.head = nn.Conv2d(16, len(LABELS), 1)
        self.pool = nn.AvgPool2d(4)

    def predict(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        colours = self.pool(images.permute(0, 3, 1, 2).float()) / 32.0
        return {"logits": (colours + 0.1 * self.head(self.backbone(images))).permute(0, 2, 3, 1)}


NETS: dict[Task, type[nn.Module]] = {
    Task.CLASSIFICATION: TinyClassifier,
    Task.DETECTION: TinyDetector,
    Task.SEGMENTATION: TinySegmenter,
}


def tiny_net(task: Task) -> nn.Module:
    torch.manual_seed(0)
    net = NETS[task]()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):  # statistics that a forgotten eval() would betray
            nn.init.uniform_(module.running_mean, -0.3, 0.3)
            nn.init.uniform_(module.running_var, 0.2, 0.6)
    return net.train()


@dataclass(frozen=True)
class TinySample:
    image_bgr: np.ndarray
    truth: object
    image_id: str


class TinyData:
    """Grey noise with one coloured patch on cell borders; its channel is its class."""

    labels = LABELS

    def __init__(self, task: Task, *, count: int = 12) -> None:
        self.task = task
        self.count = count

    def __len__(self) -> int:
        return self.count

    def image_id(self, index: int) -> str:
        return f"{index}.png"

    def fingerprint(self) -> str:
        return "tiny-data"

    def truth(self, index: int) -> object:
        return self[index].truth

    def __getitem__(self, index: int) -> TinySample:
        generator = np.random.default_rng(index)
        height, width = SIZE_HW
        image_rgb = generator.integers(30, 60, (height, width, 3)).astype(np.uint8)
        class_id = index % len(LABELS)
        left, top = (int(v) * STRIDE for v in generator.integers(0, (5, 3)))
        image_rgb[top : top + STRIDE, left : left + STRIDE, class_id] = generator.integers(200, 250, (STRIDE, STRIDE))
        image_bgr = np.ascontiguousarray(image_rgb[..., ::-1])
        return TinySample(image_bgr, self._truth(class_id, left, top, image_rgb), self.image_id(index))

    def _truth(self, class_id: int, left: int, top: int, image_rgb: np.ndarray) -> object:
        if self.task is Task.CLASSIFICATION:
            return ClassLabel(class_id)
        if self.task is Task.DETECTION:
            box = np.array([[left, top, left + STRIDE, top + STRIDE]], np.float32)
            return Detections(box, np.ones(1, np.float32), np.array([class_id], np.int64))
        class_map = np.full(SIZE_HW, 255, np.uint8)
        class_map[top : top + STRIDE, left : left + STRIDE] = class_id
        class_map[0, 0] = (class_id + 1) % len(LABELS)
        return SegmentationMap(class_map)


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


def tiny_calibration(task: Task, count: int = 6) -> list[np.ndarray]:
    """Prepared images; the data are the net's own input size."""
    preprocess, data = PreprocessSpec(SIZE_HW), TinyData(task)
    return [preprocess.apply(data[index].image_bgr)[0] for index in range(count)]


def tiny_scoring(task: Task) -> Scoring:
    thresholds = PostprocessSpec(KINDS[task], score_threshold=0.001, iou_threshold=0.6, max_detections=100)
    return Scoring(TinyData(task), METRICS[task](LABELS), thresholds)


def export_tiny(
    task: Task,
    target: Path,
    *,
    plan: ExportPlan | None = None,
    force: bool = False,
    calibration: Sequence[np.ndarray] = (),
    keys: Sequence[SigningKey] = (),
) -> ExportReport:
    plan = plan or tiny_plan(task)
    return write_bundle(
        network_source(tiny_net(task), embedding=plan.embedding),
        tiny_scoring(task),
        plan,
        target=target,
        replace_existing=force,
        stages=quiet_stages,
        calibration=calibration,
        keys=keys,
    )
