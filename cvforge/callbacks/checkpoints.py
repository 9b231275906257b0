"""Best and last checkpoint of a run, and the checkpoint that an interruption leaves."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.io.checkpoint_io import CheckpointIO
from pytorch_lightning.callbacks import Checkpoint

from cvforge.callbacks.interrupt import StopRequest
from cvforge.checkpoint import read_checkpoint, write_checkpoint
from cvforge.errors import InterruptedRunError, StorageError

STATE = ("best_score", "best_scores", "best_epoch", "scored_step", "seconds")


class SafeCheckpointIO(CheckpointIO):
    """Lightning's door to checkpoint files: whole files or none, and no code from them."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """See `cvforge.checkpoint.write_checkpoint`."""
        write_checkpoint(checkpoint, Path(path))

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = True) -> dict[str, Any]:
        """See `cvforge.checkpoint.read_checkpoint`."""
        return read_checkpoint(Path(path))

    def remove_checkpoint(self, path: Any) -> None:
        """Delete a file."""
        Path(path).unlink(missing_ok=True)


class RunCheckpoints(Checkpoint):
    """Writes `last.ckpt` after every epoch and keeps as `best.ckpt` the one with the highest score.

    Both hold everything that resuming needs. A stop that was asked for is carried out here, where the state of the run
    is whole: after a batch, or after the validation that follows the last batch of an epoch.

    Args:
        folder: where both files lie.
        monitor: the score that decides, as it is logged: `val/<key>`; higher is better.
        stop: asked by the user; None: nobody asks.
    """

    def __init__(self, folder: Path, *, monitor: str, stop: StopRequest | None = None) -> None:
        self.best, self.last = folder / "best.ckpt", folder / "last.ckpt"
        self.monitor = monitor
        self.stop = stop
        self.best_score: float | None = None
        self.best_epoch: int | None = None
        self.best_scores: dict[str, float] = {}
        self.best_step: int | None = None  # where the best score was made, if that was since the last start
        self.scored_step = -1
        self.seconds = 0.0
        self._clock_s = time.monotonic()
        self._improved = False

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock, and put the loader where a resumed run stopped."""
        self._clock_s = time.monotonic()
        # Lightning 2.6 made the loader when the schedule asked for the number of steps, before it read the checkpoint's
        # loops, and then never hands the loader its state. Nothing was read yet: the loader starts with the first batch.
        trainer.fit_loop._load_combined_loader_states()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Compare the score with the best one."""
        if trainer.sanity_checking or trainer.state.fn != "fit":
            return
        self._compare(pl_module.scores, step=trainer.global_step, epoch=trainer.current_epoch)

    def consider_final(self, trainer: pl.Trainer, scores: dict[str, float]) -> None:
        """Compare the score of the last weights, when training ended without a validation of them."""
        self._compare(scores, step=trainer.global_step, epoch=trainer.current_epoch - 1)  # it counts as over by now
        if self._improved and trainer.is_global_zero:
            _link(self.last, self.best)

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Stop here if that was asked for and the epoch goes on."""
        loop = trainer.fit_loop.epoch_loop
        # Not between accumulated batches, whose gradients no checkpoint holds; and not after the last batch, when the
        # epoch's end is near, and from where Lightning would resume behind the validation.
        if not self._asked(trainer) or loop._should_accumulate() or loop._num_ready_batches_reached():
            return
        trainer.save_checkpoint(self.last)
        self._leave(f"batch {loop.batch_idx + 1} of epoch {trainer.current_epoch + 1}")

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the last checkpoint, and let the best be the same file if this epoch was the best."""
        trainer.save_checkpoint(self.last)
        if self._improved and trainer.is_global_zero:
            _link(self.last, self.best)
        self._improved = False
        if self._asked(trainer):
            self._leave(f"epoch {trainer.current_epoch + 1}")

    def state_dict(self) -> dict[str, Any]:
        """The best scores so far and their epoch, counted from 0; what was scored; seconds of training so far."""
        now_s = time.monotonic()
        self.seconds, self._clock_s = self.seconds + now_s - self._clock_s, now_s
        return {name: getattr(self, name) for name in STATE}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there."""
        for name in STATE:
            setattr(self, name, state_dict[name])

    def _compare(self, scores: dict[str, float], *, step: int, epoch: int) -> None:
        self.scored_step = step
        score = scores[self.monitor.partition("/")[2]]
        if self.best_score is None or score > self.best_score:
            self.best_score, self.best_scores, self.best_epoch = score, dict(scores), epoch
            self.best_step = step
            self._improved = True

    def _asked(self, trainer: pl.Trainer) -> bool:
        """Whether any process was asked: all must leave at the same batch."""
        if self.stop is None:
            return False
        if trainer.world_size == 1:
            return self.stop.asked
        asked = torch.tensor(int(self.stop.asked), device=trainer.strategy.root_device)
        torch.distributed.all_reduce(asked, op=torch.distributed.ReduceOp.MAX)
        return bool(asked)

    def _leave(self, where: str) -> None:
        run = self.last.parent.parent
        raise InterruptedRunError(f"stopped after {where}; continue with: python tools/train.py --resume {run}")


def _link(source: Path, target: Path) -> None:
    """Let `target` be the same file as `source`: checkpoints are replaced, never changed, so they can share bytes."""
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    try:
        try:
            os.link(source, temporary)
        except OSError:  # a file system without hard links
            shutil.copyfile(source, temporary)
        temporary.replace(target)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise StorageError(f"{target}: cannot be written ({error}); the earlier file is intact") from error
