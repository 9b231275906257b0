"""The only place that turns a config into objects.

It belongs to a low level and builds things of higher ones, so it names them in tables and imports them when they are
asked for; for the same reason what comes back is typed `Any`.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from cvforge.config.instantiate import instantiate
from cvforge.config.load import load_resolved
from cvforge.config.schema import Config, EvaluationSection, PostprocessSection
from cvforge.errors import ConfigError, DataError
from cvforge.runs import Run
from cvforge_edge.postprocess import PostprocessSpec
from cvforge_edge.preprocess import PreprocessSpec

DATA_MODULE = "cvforge.data.module.VisionDataModule"
CHECKPOINT = "cvforge.checkpoint"
SPLITS = ("train", "val", "test")


def build_preprocess(config: Config) -> PreprocessSpec:
    """What an image becomes before the network, in training, evaluation and on the device."""
    section = config.preprocess
    height, width = section.size_hw
    return PreprocessSpec(
        size_hw=(height, width),
        resize=section.resize,
        pad_value=section.pad_value,
        color_order=section.color_order,
        interpolation=section.interpolation,
    )


def build_postprocess(config: Config) -> PostprocessSpec:
    """What raw outputs become on the device, with the thresholds that a user sees."""
    return _postprocess(config.postprocess.kind, config.postprocess)


def build_evaluation_postprocess(config: Config) -> PostprocessSpec:
    """The same with the thresholds of scoring, which keep nearly every candidate."""
    return _postprocess(config.postprocess.kind, config.evaluation)


def build_dataset(config: Config, split: str) -> Any:
    """The `train`, `val` or `test` set.

    Raises:
        ConfigError: there is no such split, or the config names none.
        DataError: the data are missing or inconsistent, or have another number of classes than `data.num_classes`.
    """
    mapping = getattr(config.data, split) if split in SPLITS else None
    if not mapping:
        named = [name for name in SPLITS if getattr(config.data, name)]
        raise ConfigError(f"data.{split}: the config names no such set; it names {', '.join(named)}")
    dataset = instantiate(mapping, key=f"data.{split}", supplied={"root": config.data.root})
    if len(dataset.labels) != config.data.num_classes:
        shown = ", ".join(dataset.labels[:5]) + (", ..." if len(dataset.labels) > 5 else "")
        raise DataError(
            f"data.{split}: found {len(dataset.labels)} classes ({shown}), but data.num_classes is "
            f"{config.data.num_classes}; give data.num_classes={len(dataset.labels)}, or another data.root"
        )
    return dataset


def build_data(config: Config) -> Any:
    """The Lightning data module over all sets that the config names.

    Raises:
        DataError: see `build_dataset`; or the sets differ in task or labels.
    """
    section = config.data
    return _named(DATA_MODULE)(
        build_dataset(config, "train"),
        build_dataset(config, "val"),
        build_dataset(config, "test") if section.test else None,
        preprocess=build_preprocess(config),
        augment=build_augment(config),
        batch_size=section.batch_size,
        eval_batch_size=section.eval_batch_size,
        num_workers=section.num_workers,
        seed=config.run.seed,
        cache=section.cache,
        cache_limit_mb=section.cache_limit_mb,
    )


def build_augment(config: Config) -> Any:
    """The random changes of training images, or None."""
    return instantiate(config.augment, key="augment") if config.augment else None


def build_net(config: Config, *, pretrained: bool = True) -> Any:
    """The network.

    Args:
        config: the experiment.
        pretrained: False leaves out `model.weights`, for a net whose weights come from a checkpoint anyway.

    Raises:
        CheckpointError: the pretrained weights cannot be had or do not fit.
    """
    mapping = config.model if pretrained or "weights" not in config.model else {**config.model, "weights": None}
    return instantiate(mapping, key="model")


def build_loss(config: Config) -> Any:
    """The loss, or None for a net that computes its own."""
    return instantiate(config.loss, key="loss") if config.loss else None


def build_metric(config: Config, labels: tuple[str, ...]) -> Any:
    """An empty metric over these classes."""
    return instantiate(config.metric, key="metric", supplied={"labels": labels})


def build_callbacks(config: Config) -> list[Any]:
    """The callbacks that the config adds to those of every run, by name."""
    return [instantiate(mapping, key=f"callbacks.{name}") for name, mapping in sorted(config.callbacks.items())]


def load_net(run: Run, which: str = "best", *, config: Config | None = None) -> Any:
    """The net of a run with the weights to use: the moving average when the run kept one; in evaluation mode.

    Args:
        run: see `cvforge.runs.open_run`.
        which: `best`, `last`, or the path of a `.ckpt` file of this run's model.
        config: of the run when it is loaded already.

    Raises:
        CheckpointError: the checkpoint is missing, damaged, or of another model.
    """
    files = importlib.import_module(CHECKPOINT)
    config = config or load_resolved(run.config)
    path = checkpoint_path(run, which)
    net = build_net(config, pretrained=False)
    state = files.net_state(files.read_checkpoint(path, task=config.task, labels=run.labels))
    files.check_fits(net, state, where=str(path))
    net.load_state_dict(state)
    return net.eval()


def checkpoint_path(run: Run, which: str) -> Path:
    """Where a checkpoint lies: `best`, `last`, or a path.

    Raises:
        CheckpointError: the run has no such checkpoint.
    """
    return Path(which) if which.endswith(".ckpt") else run.checkpoint(which)


def run_dir(config: Config) -> Path | None:
    """The folder that the config asks for, absolute, or None for a dated one."""
    return Path(config.run.dir).expanduser().resolve() if config.run.dir else None


def _postprocess(kind: str, thresholds: PostprocessSection | EvaluationSection) -> PostprocessSpec:
    return PostprocessSpec(
        kind=kind,
        score_threshold=thresholds.score_threshold,
        iou_threshold=thresholds.iou_threshold,
        max_detections=thresholds.max_detections,
    )


def _named(path: str) -> Any:
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)
