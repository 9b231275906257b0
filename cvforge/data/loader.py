"""Loaders that hand out batches, and whose place in an epoch can be saved and found again."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import cv2
import torch
from torch.utils.data import DataLoader

from cvforge.data.batching import EvaluationView, FailedBatch, TrainingView
from cvforge.data.sampling import Draw, EpochPlan, share_of
from cvforge.data.types import Batch
from cvforge.errors import CheckpointError

MAX_WORKERS = 8


class TrainingLoader:
    """Batches of augmented images; an epoch is a pure function of its number, and resumes at any batch.

    Lightning finds `state_dict` and `load_state_dict` and keeps them in its checkpoints, and tells `sampler` the epoch.
    A place is counted in batches that were handed out, not in batches that workers prepared ahead.

    Args:
        view: the data set with its augmentation.
        plan: how epochs are cut into batches.
        rank: which process of `plan.world_size` this is.
        num_workers: processes that decode and augment; 0: this one.
        finished_batches: how many batches of the running epoch are trained on, where the caller knows; a batch that was
            handed out but interrupted then counts as not seen. None: every batch that was handed out counts.
    """

    def __init__(
        self,
        view: TrainingView,
        plan: EpochPlan,
        *,
        rank: int = 0,
        num_workers: int = 0,
        finished_batches: Callable[[], int] | None = None,
    ) -> None:
        self.view = view
        self.plan = plan
        self.sampler = PlanSampler(plan, rank=rank)
        self._finished_batches = finished_batches
        self._handed_out = 0
        self._resume_at: tuple[int, int] | None = None
        self._loader = _torch_loader(view, self.sampler, num_workers=num_workers)

    def __len__(self) -> int:
        return self.plan.batches

    def __iter__(self) -> Iterator[Batch]:
        # A generator: nothing is read before the first batch is asked for, when Lightning has set the epoch.
        self.sampler.start = self._start()
        self._handed_out = self.sampler.start
        for batch in self._loader:
            if isinstance(batch, FailedBatch):
                raise batch.error
            self._handed_out += 1
            yield batch

    def state_dict(self) -> dict[str, Any]:
        """Epoch and number of batches done, and the plan that they count in."""
        done = self._handed_out
        if self._finished_batches is not None:
            done = min(done, self._finished_batches())
        return {"epoch": self.sampler.epoch, "batches": done, "plan": self._plan_state()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Start the next epoch that is asked for where the saved one stopped.

        Raises:
            CheckpointError: the saved run stopped inside an epoch that was cut into batches differently.
        """
        epoch, done = int(state_dict["epoch"]), int(state_dict["batches"])
        saved = dict(state_dict["plan"])
        if saved != self._plan_state() and 0 < done < self._batches_of(saved):
            raise CheckpointError(
                f"the checkpoint was written after batch {done} of epoch {epoch} with {saved}, now it is "
                f"{self._plan_state()}; resume with the same values, or from a checkpoint of the end of an epoch"
            )
        self.sampler.set_epoch(epoch)
        self._handed_out = done
        self._resume_at = (epoch, done)

    def close(self) -> None:
        """End the worker processes."""
        self._loader._iterator = None

    def _start(self) -> int:
        resume_at, self._resume_at = self._resume_at, None
        return resume_at[1] if resume_at is not None and resume_at[0] == self.sampler.epoch else 0

    def _plan_state(self) -> dict[str, int]:
        plan = self.plan
        return {
            "length": plan.length,
            "batch_size": plan.batch_size,
            "seed": plan.seed,
            "world_size": plan.world_size,
        }

    @staticmethod
    def _batches_of(plan_state: dict[str, int]) -> int:
        return EpochPlan(**plan_state).batches


class EvaluationLoader:
    """Batches of every image once, in order; with several processes each takes its share.

    Args:
        view: the data set.
        batch_size: images in a batch; the last may be smaller.
        rank: which process this is.
        world_size: of how many.
        num_workers: processes that decode; 0: this one.
    """

    def __init__(
        self, view: EvaluationView, *, batch_size: int, rank: int = 0, world_size: int = 1, num_workers: int = 0
    ) -> None:
        indices = share_of(len(view), rank=rank, world_size=world_size)
        self._batches = [indices[first : first + batch_size] for first in range(0, len(indices), batch_size)]
        self._loader = _torch_loader(view, self._batches, num_workers=num_workers)

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[Batch]:
        for batch in self._loader:
            if isinstance(batch, FailedBatch):
                raise batch.error
            yield batch

    def close(self) -> None:
        """End the worker processes."""
        self._loader._iterator = None


class PlanSampler:
    """The batch sampler of torch's loader: the rest of one epoch of a plan.

    Attributes:
        epoch: which epoch the next iteration gives.
        start: how many of its batches are left out.
    """

    def __init__(self, plan: EpochPlan, *, rank: int) -> None:
        self.plan = plan
        self.rank = rank
        self.epoch = 0
        self.start = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next iteration (Lightning calls this)."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.plan.batches - self.start

    def __iter__(self) -> Iterator[list[Draw]]:
        return self.plan.batches_of(self.epoch, rank=self.rank, start=self.start)


def default_workers() -> int:
    """Loader processes that fit this machine: one a core beside a GPU, few where training itself needs the cores."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if torch.cuda.is_available():
        return min(cores, MAX_WORKERS)
    return min(max(1, cores // 4), MAX_WORKERS)


def _torch_loader(view: Any, batch_sampler: Any, *, num_workers: int) -> DataLoader[Any]:
    return DataLoader(
        view,
        batch_sampler=batch_sampler,
        num_workers=num_workers,
        collate_fn=_whole,
        pin_memory=torch.cuda.is_available(),
        worker_init_fn=_start_worker,
        persistent_workers=num_workers > 0,
        # Its own generator: torch's loader draws a number each epoch, and must not move the random state of training.
        generator=torch.Generator(),
    )


def _whole(batch: Batch | FailedBatch) -> Batch | FailedBatch:
    return batch


def _start_worker(worker_id: int) -> None:
    """One thread a worker; the workers are the parallelism."""
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
