"""The data of a run: three sets, and the loaders that Lightning asks for."""

from __future__ import annotations

from collections.abc import Callable

import pytorch_lightning as lightning

from cvforge.config.schema import CACHES
from cvforge.data.batching import Augment, EvaluationView, TrainingView
from cvforge.data.cache import CachedDataset
from cvforge.data.loader import EvaluationLoader, TrainingLoader, default_workers
from cvforge.data.sampling import EpochPlan
from cvforge.data.types import Dataset
from cvforge.errors import DataError
from cvforge_edge.preprocess import PreprocessSpec
from cvforge_edge.types import Task

BYTES_PER_MB = 2**20


class VisionDataModule(lightning.LightningDataModule):
    """Loaders for training, validation and test over any data sets of one task.

    Args:
        train: what the network learns from.
        val: what checkpoints are chosen by.
        test: what is reported; None: nothing.
        preprocess: what the device does to an image.
        augment: random changes of training images; None: none.
        batch_size: images in a training batch of one process.
        eval_batch_size: images in an evaluation batch.
        num_workers: loader processes; None: chosen from the processor count.
        seed: decides order and augmentation, together with the epoch.
        cache: `ram` keeps decoded images in memory, `none` does not.
        cache_limit_mb: of decoded training and validation images together.

    Raises:
        DataError: a set is empty, or the sets differ in task or labels.
    """

    def __init__(
        self,
        train: Dataset,
        val: Dataset,
        test: Dataset | None = None,
        *,
        preprocess: PreprocessSpec,
        augment: Augment | None = None,
        batch_size: int = 16,
        eval_batch_size: int = 16,
        num_workers: int | None = None,
        seed: int = 0,
        cache: str = "ram",
        cache_limit_mb: int = 2048,
    ) -> None:
        super().__init__()
        if cache not in CACHES:
            raise DataError(f"data.cache: found {cache!r}, accepted {', '.join(CACHES)}")
        self.train_set, self.val_set, self.test_set = train, val, test
        _check_agreement({"train": train, "val": val} | ({} if test is None else {"test": test}))
        self.preprocess = preprocess
        self.augment = augment
        self.batch_size, self.eval_batch_size = batch_size, eval_batch_size
        self.num_workers = default_workers() if num_workers is None else num_workers
        self.seed = seed
        self._cache_bytes = cache_limit_mb * BYTES_PER_MB if cache == "ram" else 0
        self._loaders: dict[str, TrainingLoader | EvaluationLoader] = {}

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the classes, in the order of their ids."""
        return self.train_set.labels

    @property
    def task(self) -> Task:
        """What the truths of the sets are."""
        return self.train_set.task

    def fingerprints(self) -> dict[str, str]:
        """Split name -> fingerprint of its data."""
        sets = {"train": self.train_set, "val": self.val_set, "test": self.test_set}
        return {name: dataset.fingerprint() for name, dataset in sets.items() if dataset is not None}

    def train_dataloader(self) -> TrainingLoader:
        """Augmented batches; the place in the epoch goes into Lightning's checkpoints."""
        rank, world_size = self._process()
        view = TrainingView(self._cached(self.train_set), preprocess=self.preprocess, augment=self.augment)
        plan = EpochPlan(len(self.train_set), self.batch_size, seed=self.seed, world_size=world_size)
        loader = TrainingLoader(
            view, plan, rank=rank, num_workers=self.num_workers, finished_batches=self._finished_batches()
        )
        return self._replace("train", loader)  # type: ignore[return-value]

    def val_dataloader(self) -> EvaluationLoader:
        """Validation images, preprocessed as on the device."""
        return self._evaluation("val", self._cached(self.val_set))

    def test_dataloader(self) -> EvaluationLoader:
        """Test images, preprocessed as on the device."""
        if self.test_set is None:
            raise DataError("data.test: the config names no test set; add one, or evaluate on val")
        return self._evaluation("test", self.test_set)

    def teardown(self, stage: str) -> None:
        """End the worker processes (Lightning calls this when fitting or testing is over)."""
        for loader in self._loaders.values():
            loader.close()
        self._loaders.clear()

    def _evaluation(self, name: str, dataset: Dataset) -> EvaluationLoader:
        rank, world_size = self._process()
        loader = EvaluationLoader(
            EvaluationView(dataset, preprocess=self.preprocess),
            batch_size=self.eval_batch_size,
            rank=rank,
            world_size=world_size,
            num_workers=self.num_workers,
        )
        return self._replace(name, loader)  # type: ignore[return-value]

    def _replace(self, name: str, loader: TrainingLoader | EvaluationLoader) -> TrainingLoader | EvaluationLoader:
        if name in self._loaders:
            self._loaders[name].close()
        self._loaders[name] = loader
        return loader

    def _cached(self, dataset: Dataset) -> Dataset:
        """The set behind a cache; training and validation share the limit by their number of images."""
        if not self._cache_bytes:
            return dataset
        share = len(dataset) / (len(self.train_set) + len(self.val_set))
        return CachedDataset(dataset, limit_bytes=int(self._cache_bytes * share))

    def _process(self) -> tuple[int, int]:
        """Rank and number of processes of the attached trainer."""
        if self.trainer is None:
            return 0, 1
        return self.trainer.global_rank, self.trainer.world_size

    def _finished_batches(self) -> Callable[[], int] | None:
        """Lightning's own count of trained batches: it leaves out a batch that Ctrl-C interrupted."""
        trainer = self.trainer
        if trainer is None:
            return None
        return lambda: trainer.fit_loop.epoch_loop.batch_progress.current.processed


def _check_agreement(sets: dict[str, Dataset]) -> None:
    first = sets["train"]
    problems = []
    for name, dataset in sets.items():
        if len(dataset) == 0:
            problems.append(f"data.{name}: holds no image; expected at least one")
        if dataset.task != first.task:
            problems.append(f"data.{name}: is for {dataset.task.value}, data.train for {first.task.value}")
        elif dataset.labels != first.labels:
            problems.append(f"data.{name}: {_difference(first.labels, dataset.labels)}")
    if problems:
        raise DataError("\n".join([*problems, "Give all splits the same labels, in the same order."]))


def _difference(expected: tuple[str, ...], found: tuple[str, ...]) -> str:
    missing = [label for label in expected if label not in found]
    unknown = [label for label in found if label not in expected]
    if not missing and not unknown:
        return f"has the labels of data.train in another order: {', '.join(found)}; expected {', '.join(expected)}"
    parts = [f"lacks labels of data.train: {', '.join(missing)}"] if missing else []
    parts += [f"has labels that data.train has not: {', '.join(unknown)}"] if unknown else []
    return "; ".join(parts)
