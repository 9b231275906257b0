"""An interrupted and resumed Lightning run sees exactly the batches of an uninterrupted one."""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path

import pytest
import pytorch_lightning as lightning
import torch
from pytorch_lightning.callbacks import Callback

from cvforge.data.augment import ClassificationAugment
from cvforge.data.module import VisionDataModule
from cvforge.data.synthetic import ShapesClassification
from cvforge_edge.preprocess import PreprocessSpec

IMAGES, BATCH, EPOCHS = 11, 3, 3
BATCHES = 4  # of an epoch: 11 images in batches of 3, the last one completed

# pytorch-lightning 2.6.6 uses a class that torch 2.12 announces to remove.
pytestmark = pytest.mark.filterwarnings("ignore:.*isinstance.*LeafSpec.*:FutureWarning")


class InterruptedRunError(Exception):
    """Stands for whatever ends a run."""


class Recorder(lightning.LightningModule):
    """Remembers a digest of every batch it is trained on."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.seen: list[tuple[int, str]] = []

    def training_step(self, batch, batch_idx):
        self.seen.append((self.current_epoch, hashlib.sha256(batch.images.numpy().tobytes()).hexdigest()[:12]))
        return self.layer(batch.images.float().mean().reshape(1, 1)).sum()

    def validation_step(self, batch, batch_idx):
        assert len(batch.items) == len(batch.images)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.0)


class SaveAndStop(Callback):
    """Writes a checkpoint at one moment of the run, then ends it."""

    def __init__(self, path: Path, *, hook: str, count: int) -> None:
        self.path = path
        self.hook = hook
        self.left = count

    def on_train_batch_end(self, trainer, *arguments):
        self._moment("on_train_batch_end", trainer)

    def on_validation_end(self, trainer, *arguments):
        self._moment("on_validation_end", trainer)

    def on_train_epoch_end(self, trainer, *arguments):
        self._moment("on_train_epoch_end", trainer)

    def on_before_optimizer_step(self, trainer, *arguments):
        self._moment("on_before_optimizer_step", trainer)

    def _moment(self, hook, trainer):
        if hook != self.hook or trainer.sanity_checking:
            return
        self.left -= 1
        if self.left == 0:
            trainer.save_checkpoint(self.path)
            raise InterruptedRunError


def data_module(workers: int = 0) -> VisionDataModule:
    return VisionDataModule(
        ShapesClassification(IMAGES, (32, 32), seed=1),
        ShapesClassification(4, (32, 32), seed=2),
        preprocess=PreprocessSpec((32, 32)),
        augment=ClassificationAugment((32, 32)),
        batch_size=BATCH,
        num_workers=workers,
        seed=5,
    )


def train(folder: Path, *callbacks: Callback, resume: Path | None = None, workers: int = 0, **options) -> list:
    model = Recorder()
    trainer = lightning.Trainer(
        max_epochs=EPOCHS,
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        callbacks=list(callbacks),
        **options,
    )
    with contextlib.suppress(InterruptedRunError):
        trainer.fit(model, datamodule=data_module(workers), ckpt_path=resume, weights_only=True)
    return model.seen


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory) -> list:
    seen = train(tmp_path_factory.mktemp("whole"))
    assert len(seen) == EPOCHS * BATCHES
    assert len({digest for _, digest in seen}) == len(seen)
    return seen


@pytest.mark.parametrize("count", range(1, EPOCHS * BATCHES))
def test_a_run_stopped_after_any_batch_goes_on_with_the_next_one(tmp_path, whole_run, count):
    checkpoint = tmp_path / "stop.ckpt"
    first = train(tmp_path, SaveAndStop(checkpoint, hook="on_train_batch_end", count=count))
    assert first == whole_run[:count]
    assert train(tmp_path, resume=checkpoint) == whole_run[count:]


@pytest.mark.parametrize("hook", ["on_validation_end", "on_train_epoch_end"])
@pytest.mark.parametrize("epochs", [1, 2])
def test_a_run_stopped_at_the_end_of_an_epoch_goes_on_with_the_next_one(tmp_path, whole_run, hook, epochs):
    checkpoint = tmp_path / "stop.ckpt"
    train(tmp_path, SaveAndStop(checkpoint, hook=hook, count=epochs))
    assert train(tmp_path, resume=checkpoint) == whole_run[epochs * BATCHES :]


@pytest.mark.parametrize("count", [1, 3, 4, 6])
def test_a_batch_that_was_interrupted_before_its_step_is_trained_on_again(tmp_path, whole_run, count):
    checkpoint = tmp_path / "stop.ckpt"
    train(tmp_path, SaveAndStop(checkpoint, hook="on_before_optimizer_step", count=count))
    assert train(tmp_path, resume=checkpoint) == whole_run[count - 1 :]


def test_a_run_stopped_at_a_validation_inside_an_epoch_goes_on_with_the_next_batch(tmp_path, whole_run):
    checkpoint = tmp_path / "stop.ckpt"
    halves = {"val_check_interval": 0.5}
    train(tmp_path, SaveAndStop(checkpoint, hook="on_validation_end", count=3), **halves)
    assert train(tmp_path, resume=checkpoint, **halves) == whole_run[6:]


def test_batches_that_workers_prepared_ahead_do_not_count_as_seen(tmp_path, whole_run):
    checkpoint = tmp_path / "stop.ckpt"
    first = train(tmp_path, SaveAndStop(checkpoint, hook="on_train_batch_end", count=5), workers=2)
    assert first == whole_run[:5]
    assert train(tmp_path, resume=checkpoint, workers=1) == whole_run[5:]


def test_a_limit_on_batches_per_epoch_starts_each_epoch_anew(tmp_path, whole_run):
    seen = train(tmp_path, limit_train_batches=2)
    assert seen == [whole_run[i] for i in (0, 1, 4, 5, 8, 9)]
