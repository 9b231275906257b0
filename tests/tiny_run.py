"""A whole run in seconds: sixteen-pixel images, a net with dropout and batch normalisation, everything else real."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytorch_lightning as pl
import torch
from torch import nn

from cvforge.callbacks.checkpoints import RunCheckpoints, SafeCheckpointIO
from cvforge.callbacks.ema import WeightsEMA
from cvforge.callbacks.history import CsvHistory
from cvforge.callbacks.interrupt import StopRequest
from cvforge.callbacks.random_state import SeedEachStep, seed_everything
from cvforge.callbacks.step_limit import StepLimit
from cvforge.config.schema import OptimSection, TrainerSection
from cvforge.data.module import VisionDataModule
from cvforge.data.types import Sample
from cvforge.metrics.classification import TopKAccuracy
from cvforge.tasks.classification import ClassificationTask
from cvforge.tasks.hardware import Hardware
from cvforge.tasks.quiet import quiet_lightning
from cvforge.tasks.trainer import build_trainer
from cvforge_edge.postprocess import PostprocessSpec
from cvforge_edge.preprocess import PreprocessSpec
from cvforge_edge.types import ClassLabel, Task

LABELS = ("dark", "grey", "light")
SIZE = 16


class TinyImages:
    """Noisy images of three brightnesses; a pure function of the index."""

    task = Task.CLASSIFICATION
    labels = LABELS

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Sample:
        noise = np.random.default_rng(index).integers(0, 120, (SIZE, SIZE, 3))
        image = (noise + 60 * (index % 3)).astype(np.uint8)
        return Sample(image, ClassLabel(index % 3), self.image_id(index))

    def image_id(self, index: int) -> str:
        return f"{index:04d}"

    def truth(self, index: int) -> ClassLabel:
        return ClassLabel(index % 3)

    def fingerprint(self) -> str:
        return f"tiny-{self.count}"


class TinyNet(nn.Module):
    """Has all that a resumed run could get wrong: dropout, running statistics, a backbone of its own learning rate."""

    export_blocker = None

    def __init__(self, channels: int = 4) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, channels, 3, stride=2), nn.BatchNorm2d(channels), nn.ReLU())
        self.dropout = nn.Dropout(0.3)
        self.head = nn.Linear(channels, len(LABELS))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = self.backbone(images.permute(0, 3, 1, 2).float() / 255).mean((2, 3))
        return self.head(self.dropout(x))

    def predict(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"probs": self.forward(images).softmax(1)}


class TinyLoss(nn.Module):
    """Cross entropy as a named term."""

    def forward(self, raw: torch.Tensor, targets: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"cross_entropy": nn.functional.cross_entropy(raw, targets)}


class StopAt(pl.Callback):
    """Asks for a stop as Ctrl-C does, after a batch or inside a validation."""

    def __init__(self, stop: StopRequest, *, batch: int | None = None, validation_of_epoch: int | None = None) -> None:
        self.stop, self.batch, self.validation_of_epoch = stop, batch, validation_of_epoch

    def on_train_batch_end(self, trainer: pl.Trainer, *_: object) -> None:
        if trainer.fit_loop.epoch_loop.total_batch_idx + 1 == self.batch:
            self.stop.asked = True

    def on_validation_batch_end(self, trainer: pl.Trainer, *_: object) -> None:
        if not trainer.sanity_checking and trainer.current_epoch == self.validation_of_epoch:
            self.stop.asked = True


@dataclass
class TinyRun:
    """Everything that a test looks at afterwards."""

    trainer: pl.Trainer
    task: ClassificationTask
    checkpoints: RunCheckpoints
    folder: Path


def tiny_task(*, lr: float = 0.02, channels: int = 4, max_steps: int | None = None) -> ClassificationTask:
    seed_everything(7)
    return ClassificationTask(
        TinyNet(channels),
        TinyLoss(),
        metric=TopKAccuracy(LABELS),
        optim=OptimSection(lr=lr, backbone_lr_factor=0.5, warmup_epochs=0.5),
        scoring=PostprocessSpec("classification_probs"),
        max_steps=max_steps,
    )


def tiny_data(*, num_workers: int = 0, count: int = 44) -> VisionDataModule:
    return VisionDataModule(
        TinyImages(count),
        TinyImages(14),
        preprocess=PreprocessSpec((SIZE, SIZE)),
        batch_size=8,
        eval_batch_size=4,
        num_workers=num_workers,
        seed=3,
        cache="none",
    )


def tiny_run(
    folder: Path,
    *,
    resume: bool = False,
    stop_after_batch: int | None = None,
    stop_in_validation_of_epoch: int | None = None,
    num_workers: int = 0,
    patience: int | None = None,
    lr: float = 0.02,
    **trainer: object,
) -> TinyRun:
    """Six batches an epoch. Raises what the run raises."""
    settings = {"max_epochs": 4, "devices": 1, "log_every_n_steps": 1, **trainer}
    section = TrainerSection(**settings)  # type: ignore[arg-type]
    stop = StopRequest()
    task = tiny_task(lr=lr, max_steps=section.max_steps if section.max_steps > 0 else None)
    (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
    checkpoints = RunCheckpoints(folder / "checkpoints", monitor=task.monitor, stop=stop)
    callbacks: list[pl.Callback] = [
        SeedEachStep(5),
        WeightsEMA(0.95),
        *([StepLimit(section.max_steps)] if section.max_steps > 0 else []),
        StopAt(stop, batch=stop_after_batch, validation_of_epoch=stop_in_validation_of_epoch),
        checkpoints,
    ]
    if patience is not None:
        callbacks.insert(
            2, pl.callbacks.EarlyStopping(task.monitor, mode="max", patience=patience, check_on_train_epoch_end=False)
        )
    with quiet_lightning():
        built = build_trainer(
            section,
            Hardware("cpu", "32-true", 1, "tests"),
            callbacks=callbacks,
            loggers=[CsvHistory(folder / "metrics.csv")],
            plugins=[SafeCheckpointIO()],
            folder=folder,
        )
        path = folder / "checkpoints" / "last.ckpt" if resume else None
        built.fit(task, datamodule=tiny_data(num_workers=num_workers), ckpt_path=path, weights_only=True)
    return TinyRun(built, task, checkpoints, folder)
