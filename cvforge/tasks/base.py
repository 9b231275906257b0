"""What training a net has in common for every task; a task adds its name and the scores it shows."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt
import pytorch_lightning as pl
import torch
from torch import nn

from cvforge.checkpoint import IDENTITY_KEY, identity
from cvforge.config.schema import OptimSection
from cvforge.data.types import Batch
from cvforge.errors import ConfigError, DivergedError
from cvforge.tasks.optimiser import build_optimiser, learning_rate_factor
from cvforge_edge.postprocess import PostprocessSpec, postprocess
from cvforge_edge.preprocess import PreprocessSpec
from cvforge_edge.types import Prediction, Task


class Metric(Protocol):
    """What a task needs of a metric; see `cvforge.metrics`."""

    primary: str
    labels: tuple[str, ...]

    def update(self, prediction: Any, truth: Any, image_id: str) -> None:
        """Take in one image."""

    def compute(self) -> dict[str, float]:
        """The scores over all images."""

    def reset(self) -> None:
        """Forget all images."""

    def state(self) -> dict[str, Any]:
        """What another process merges."""

    def merge(self, state: Any) -> None:
        """Take in the images of another process."""


class SupervisedTask(pl.LightningModule):
    """Trains a net by a loss, and scores it through the device's own post-processing.

    Args:
        net: `forward(images) -> raw`, `predict(images) -> outputs by role`.
        loss: `loss(raw, targets) -> named scalar terms`; None for a net with `losses(images, targets)` of its own.
        metric: scores predictions; its labels are the task's.
        optim: optimiser and schedule.
        scoring: post-processing with the thresholds for scoring.
        max_steps: optimiser steps after which the run ends, where epochs do not end it before; the schedule ends with it.
    """

    task: ClassVar[Task]
    headline: ClassVar[tuple[str, ...]] = ()  # metric keys beside the primary one that the progress display shows

    def __init__(
        self,
        net: nn.Module,
        loss: nn.Module | None,
        *,
        metric: Metric,
        optim: OptimSection,
        scoring: PostprocessSpec,
        max_steps: int | None = None,
    ) -> None:
        super().__init__()
        self._check(net, loss, scoring)
        self.net = net.to(memory_format=torch.channels_last)  # images come as NHWC: no layer has to reorder
        self.ema_net: nn.Module | None = None  # set by cvforge.callbacks.WeightsEMA
        self.loss = loss
        self.metric = metric
        self.optim = optim
        self.scoring = scoring
        self.max_steps = max_steps
        self.total_steps = 0  # optimiser steps of the whole run, known when it starts
        self.scores: dict[str, float] = {}  # of the latest complete evaluation, with the scores of each label

    @property
    def monitor(self) -> str:
        """The logged score that chooses the best checkpoint; higher is better."""
        return f"val/{self.metric.primary}"

    @property
    def scored_net(self) -> nn.Module:
        """The net that is validated and exported: the moving average when there is one."""
        return self.net if self.ema_net is None else self.ema_net

    def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        """The sum of the loss terms of one batch; every term is logged.

        Raises:
            DivergedError: the sum is not finite. On a GPU, where looking costs time, this is noticed when logging.
        """
        terms = self._loss_terms(batch)
        total = torch.stack([term.float() for term in terms.values()]).sum()
        looks = total.device.type == "cpu" or batch_idx % self.trainer.log_every_n_steps == 0
        if looks and not torch.isfinite(total):
            raise DivergedError(
                f"loss: {total.item()} in batch {batch_idx + 1} of epoch {self.current_epoch + 1} "
                f"({', '.join(f'{name} {term.item():g}' for name, term in terms.items())}); lower optim.lr or "
                "trainer.gradient_clip_norm, lengthen optim.warmup_epochs, or try trainer.precision=32-true"
            )
        logged = {f"train/{name}": term.detach() for name, term in terms.items()}
        self.log_dict(logged, batch_size=len(batch.images))
        self.log("train/lr", self.trainer.optimizers[0].param_groups[-1]["lr"])
        self.log("train/loss", total.detach(), prog_bar=True, batch_size=len(batch.images))
        return total

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Score one batch, in full precision: the exported file is later held against this number."""
        self._score(batch)

    def on_validation_epoch_end(self) -> None:
        """Log the scores over the whole validation set as `val/<key>`."""
        self._log_scores("val")

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Score one batch of the test set."""
        self._score(batch)

    def on_test_epoch_end(self) -> None:
        """Log the scores over the whole test set as `test/<key>`."""
        self._log_scores("test")

    def predict_image(
        self, image_bgr: npt.NDArray[np.uint8], preprocess: PreprocessSpec, spec: PostprocessSpec
    ) -> Prediction:
        """What the scored net says about one (h, w, 3) uint8 image, in pixels of that image."""
        image, geometry = preprocess.apply(image_bgr)
        net = self.scored_net.eval()
        with torch.no_grad():
            outputs = net.predict(torch.from_numpy(image)[None].to(self.device))
        return postprocess({role: tensor[0].float().cpu().numpy() for role, tensor in outputs.items()}, spec, geometry)

    def configure_optimizers(self) -> dict[str, Any]:
        """The optimiser, and its schedule by optimiser step."""
        optimiser = build_optimiser(self.net, self.optim)
        total_steps = min(self.trainer.estimated_stepping_batches, self.max_steps or math.inf)
        if not math.isfinite(total_steps):
            raise ConfigError(
                "trainer: neither max_epochs nor max_steps limits the run; give one, the schedule needs its end"
            )
        self.total_steps = int(total_steps)
        self.trainer.fit_loop.setup_data()  # else the number of batches is unknown where max_steps alone limits the run
        steps_per_epoch = math.ceil(self.trainer.num_training_batches / self.trainer.accumulate_grad_batches)
        factor = learning_rate_factor(self.optim, steps_per_epoch=steps_per_epoch, total_steps=self.total_steps)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, factor)
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Say in the checkpoint what it was trained for."""
        checkpoint[IDENTITY_KEY] = identity(self.task.value, self.metric.labels)

    def _loss_terms(self, batch: Batch) -> dict[str, torch.Tensor]:
        if self.loss is None:
            return self.net.losses(batch.images, batch.targets)
        return self.loss(self.net(batch.images), batch.targets)

    def _score(self, batch: Batch) -> None:
        with torch.autocast(batch.images.device.type, enabled=False):
            outputs = self.scored_net.predict(batch.images)
        arrays = {role: tensor.float().cpu().numpy() for role, tensor in outputs.items()}
        for row, item in enumerate(batch.items):
            prediction = postprocess({role: array[row] for role, array in arrays.items()}, self.scoring, item.geometry)
            self.metric.update(prediction, item.truth, item.image_id)

    def _log_scores(self, stage: str) -> None:
        if self.trainer.world_size > 1:
            states: list[Any] = [None] * self.trainer.world_size
            torch.distributed.all_gather_object(states, self.metric.state())
            for state in states:
                self.metric.merge(state)
        scores = self.metric.compute()
        self.metric.reset()
        if self.trainer.sanity_checking:
            return
        self.scores = scores
        for key, value in scores.items():
            if "/" not in key:  # scores of single labels go to metrics.json: eighty curves help nobody
                shown = key == self.metric.primary or key in self.headline
                # The same number on every process: gathered above.
                self.log(f"{stage}/{key}", value, prog_bar=shown, sync_dist=False)

    def _check(self, net: nn.Module, loss: nn.Module | None, scoring: PostprocessSpec) -> None:
        if scoring.task is not self.task:
            raise ConfigError(
                f"postprocess.kind: {scoring.kind!r} is for {scoring.task.value}, but the task is {self.task.value}"
            )
        if loss is None and not hasattr(net, "losses"):
            raise ConfigError(f"loss: missing, and {type(net).__name__} computes none of its own; give a loss")
