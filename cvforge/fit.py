"""One training run, from a checked config to a folder with checkpoints, scores and pictures."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import EarlyStopping
from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities.rank_zero import rank_zero_only
from torch import nn

from cvforge.callbacks.checkpoints import RunCheckpoints, SafeCheckpointIO
from cvforge.callbacks.curves import Curves, draw_curves
from cvforge.callbacks.ema import WeightsEMA
from cvforge.callbacks.history import CsvHistory
from cvforge.callbacks.interrupt import StopRequest
from cvforge.callbacks.progress import ProgressLines, TerminalBar
from cvforge.callbacks.random_state import SeedEachStep, seed_everything
from cvforge.callbacks.step_limit import StepLimit
from cvforge.callbacks.tensorboard_log import TensorBoardLog
from cvforge.callbacks.trackers import attach, build_trackers, forgiving, remember_ids
from cvforge.checkpoint import check_fits, has_average, net_state, read_checkpoint, trained_state
from cvforge.config import build
from cvforge.config.flat import flattened
from cvforge.config.load import resolved_yaml
from cvforge.config.schema import Config
from cvforge.environment import describe_environment
from cvforge.errors import CheckpointError, InterruptedRunError
from cvforge.evaluation import spread_indices
from cvforge.metrics.records import RecordingMetric, Records
from cvforge.report.contact_sheet import draw_contact_sheet, write_png
from cvforge.report.plots import report_pictures
from cvforge.report.write import Report, Validated, write_report
from cvforge.runs import Run, create_run, default_run_dir, refuse_taken
from cvforge.tasks.base import SupervisedTask
from cvforge.tasks.classification import ClassificationTask
from cvforge.tasks.detection import DetectionTask
from cvforge.tasks.hardware import Hardware, choose_hardware
from cvforge.tasks.quiet import log_file, quiet_lightning
from cvforge.tasks.segmentation import SegmentationTask
from cvforge.tasks.trainer import build_trainer

_log = logging.getLogger(__name__)
TASKS = {"classification": ClassificationTask, "detection": DetectionTask, "segmentation": SegmentationTask}
CONTACT_SHEET_IMAGES = 8


def fit(
    config: Config,
    *,
    run_dir: Path | None = None,
    resume_from: Path | None = None,
    callbacks: Sequence[pl.Callback] = (),
) -> Path:
    """Train, keep the best checkpoint, score it, and leave everything in the run's folder.

    Args:
        config: a checked config.
        run_dir: the run's folder; None: that of `run.dir`, or a dated one.
        resume_from: a checkpoint of this run, to go on exactly where it was written.
        callbacks: beside those of the config and of every run.

    Returns:
        The run's folder.

    Raises:
        RunExistsError: a new run would go into a folder that is taken.
        CheckpointError: the checkpoint is damaged or of another task, label set or model.
        InterruptedRunError: the user stopped the run; it can be resumed.
        StorageError: a checkpoint could not be written.
        CVForgeError: see `cvforge.config.build` for everything that data and models may lack.
    """
    folder = run_dir or build.run_dir(config) or default_run_dir(config.run.name, now=datetime.now())
    resumed = resume_from is not None
    if not resumed and rank_zero_only.rank == 0:
        refuse_taken(folder)
    with quiet_lightning():
        parts = _build_parts(config, resume_from)
        run = Run(folder) if resumed or rank_zero_only.rank else create_run(folder)
        with log_file(run.log):
            _record(config, parts, run)
            trainer, checkpoints, stop = _build_trainer(config, parts, run, callbacks)
            _train(trainer, parts, stop=stop, resume_from=resume_from)
            _finish(config, parts, run, trainer, checkpoints)
    return run.dir


def check_resume(config: Config, checkpoint: Path) -> None:
    """Find out whether `fit` could go on from a checkpoint, without training.

    Raises:
        CheckpointError: it is damaged or of another task, label set or model.
    """
    labels = build.build_data(config).labels
    _read_fitting(config, build.build_net(config, pretrained=False), checkpoint, labels=labels)


@dataclass(frozen=True)
class _Parts:
    """What a run is made of.

    Attributes:
        data: the data module.
        task: net, loss and metric.
        hardware: how the machine is used.
        first_step: the optimiser step that training starts at.
    """

    data: Any
    task: SupervisedTask
    hardware: Hardware
    first_step: int


def _build_parts(config: Config, resume_from: Path | None) -> _Parts:
    trainer = config.trainer
    processes = trainer.devices if isinstance(trainer.devices, int) and trainer.devices > 0 else 1
    hardware = choose_hardware(
        accelerator=trainer.accelerator, precision=trainer.precision, threads=trainer.threads, processes=processes
    )
    hardware.apply()
    data = build.build_data(config)
    seed_everything(config.run.seed)  # the random start of the weights
    net = build.build_net(config, pretrained=resume_from is None)
    checkpoint = None if resume_from is None else _read_fitting(config, net, resume_from, labels=data.labels)
    task = TASKS[config.task](
        net,
        build.build_loss(config),
        metric=RecordingMetric(build.build_metric(config, data.labels)),
        optim=config.optim,
        scoring=build.build_evaluation_postprocess(config),
        max_steps=config.trainer.max_steps if config.trainer.max_steps > 0 else None,
    )
    return _Parts(data, task, hardware, checkpoint["global_step"] if checkpoint else 0)


def _read_fitting(config: Config, net: nn.Module, path: Path, *, labels: tuple[str, ...]) -> dict[str, Any]:
    """The checkpoint at `path`, when training of this net with this config can go on from it."""
    checkpoint = read_checkpoint(path, task=config.task, labels=labels)
    check_fits(net, trained_state(checkpoint), where=str(path))
    if has_average(checkpoint) != (config.optim.ema_decay is not None):
        raise CheckpointError(f"{path}: optim.ema_decay was switched on or off since; resume with the run's own")
    return checkpoint


def _record(config: Config, parts: _Parts, run: Run) -> None:
    """Write what the run is made of, before it starts; a resumed run's config goes beside the first one."""
    parameters = sum(p.numel() for p in parts.task.net.parameters())
    sizes = {name: len(getattr(parts.data, f"{name}_set")) for name in parts.data.fingerprints()}
    _log.info("run: %s", run.dir)
    _log.info(
        "data: %s; %d labels", ", ".join(f"{n} {name} images" for name, n in sizes.items()), len(parts.data.labels)
    )
    _log.info("model: %s, %.2f million parameters", type(parts.task.net).__name__, parameters / 1e6)
    if rank_zero_only.rank:
        return
    resumes = len(list(run.dir.glob("config.resumed-*.yaml"))) + 1
    config_file = run.config if not run.config.exists() else run.dir / f"config.resumed-{resumes}.yaml"
    config_file.write_text(resolved_yaml(config), encoding="utf-8")
    _write_json(run.environment, describe_environment() | {"hardware": asdict(parts.hardware)})
    _write_json(
        run.data,
        {
            "task": config.task,
            "labels": list(parts.data.labels),
            "sizes": sizes,
            "fingerprints": parts.data.fingerprints(),
        },
    )


def _build_trainer(
    config: Config, parts: _Parts, run: Run, callbacks: Sequence[pl.Callback]
) -> tuple[pl.Trainer, RunCheckpoints, StopRequest]:
    stop = StopRequest()
    checkpoints = RunCheckpoints(run.dir / "checkpoints", monitor=parts.task.monitor, stop=stop)
    trainer = build_trainer(
        config.trainer,
        parts.hardware,
        callbacks=[*callbacks, *_callbacks(config, run, checkpoints)],
        loggers=_loggers(config, run, parts.first_step),
        plugins=[SafeCheckpointIO()],
        folder=run.dir,
    )
    return trainer, checkpoints, stop


def _callbacks(config: Config, run: Run, checkpoints: RunCheckpoints) -> list[pl.Callback]:
    section = config.trainer
    bar = section.progress and sys.stdout.isatty() and rank_zero_only.rank == 0
    callbacks: list[pl.Callback] = [SeedEachStep(config.run.seed)]
    if config.optim.ema_decay is not None:
        callbacks.append(WeightsEMA(config.optim.ema_decay))
    if section.max_steps > 0:
        callbacks.append(StepLimit(section.max_steps))
    if section.early_stopping_patience is not None:
        callbacks.append(
            EarlyStopping(
                checkpoints.monitor,
                mode="max",
                patience=section.early_stopping_patience,
                check_on_train_epoch_end=False,  # its count must be in the checkpoint of the same epoch
            )
        )
    callbacks += build.build_callbacks(config)
    callbacks.append(ProgressLines(checkpoints, inside_epochs=section.progress and not bar))
    callbacks.append(Curves(run.history, run.curves, title=run.dir.name))
    callbacks += [TerminalBar(leave=False)] if bar else []
    return [*callbacks, checkpoints]


def _loggers(config: Config, run: Run, first_step: int) -> list[Logger]:
    trackers = build_trackers(config.logging, run_name=config.run.name, run_dir=run.dir)
    for tracker in trackers:
        tracker.log_hyperparams(flattened(asdict(config)))
    remember_ids(trackers, run.dir)
    history = CsvHistory(run.history, first_step=first_step)
    return [history, TensorBoardLog(run.dir / "tensorboard", first_step=first_step), *map(forgiving, trackers)]


def _train(trainer: pl.Trainer, parts: _Parts, *, stop: StopRequest, resume_from: Path | None) -> None:
    if resume_from is not None:
        _log.info("resuming from %s, step %d", resume_from, parts.first_step)
    with stop.listening():
        try:
            trainer.fit(parts.task, datamodule=parts.data, ckpt_path=resume_from, weights_only=True)
        except SystemExit as error:  # how Lightning leaves when a second Ctrl-C interrupts a step
            raise InterruptedRunError(
                "stopped at once, in the middle of a step; --resume goes on from the last checkpoint, if there is one"
            ) from error


def _finish(config: Config, parts: _Parts, run: Run, trainer: pl.Trainer, checkpoints: RunCheckpoints) -> None:
    """Score what was not scored yet, and write scores and pictures of the best checkpoint."""
    if checkpoints.scored_step != trainer.global_step:
        trainer.validate(parts.task, datamodule=parts.data, verbose=False)
        checkpoints.consider_final(trainer, parts.task.scores)
    best = read_checkpoint(run.best_checkpoint)
    parts.task.scored_net.load_state_dict(net_state(best))
    records = _records_of_best(parts, trainer, checkpoints)
    summary = {"best_epoch": checkpoints.best_epoch, "val": checkpoints.best_scores}
    if parts.data.test_set is not None:
        trainer.test(parts.task, datamodule=parts.data, verbose=False)
        summary["test"] = parts.task.scores
    summary |= {"epochs": trainer.current_epoch, "steps": trainer.global_step, "seconds": round(checkpoints.seconds, 1)}
    if rank_zero_only.rank:
        return
    _write_json(run.metrics, summary)
    draw_curves(run.history, run.curves, title=run.dir.name)
    report = _write_report(config, parts, run, records=records, scores=checkpoints.best_scores)
    attach(trainer.loggers, report_pictures(report), page=run.report, step=trainer.global_step)
    _say_where(run, summary, parts.task.metric.primary)


def _records_of_best(parts: _Parts, trainer: pl.Trainer, checkpoints: RunCheckpoints) -> Records:
    """What the validation of the best weights saw; they are validated once more when that was not the latest validation."""
    metric: RecordingMetric = parts.task.metric
    if metric.latest is None or checkpoints.best_step != checkpoints.scored_step:
        loggers, trainer.loggers = trainer.loggers, []  # these scores are in the history already
        trainer.validate(parts.task, datamodule=parts.data, verbose=False)
        trainer.loggers = loggers
    assert metric.latest is not None
    return metric.latest


def _write_report(config: Config, parts: _Parts, run: Run, *, records: Records, scores: dict[str, float]) -> Report:
    """The sheet of pictures that do not depend on scores, and the report."""
    spec, preprocess = build.build_postprocess(config), build.build_preprocess(config)
    predict, dataset = partial(parts.task.predict_image, preprocess=preprocess, spec=spec), parts.data.val_set
    samples = [dataset[index] for index in spread_indices(len(dataset), CONTACT_SHEET_IMAGES)]
    write_png(draw_contact_sheet(samples, predict, labels=parts.data.labels), run.predictions)
    net, primary = parts.task.scored_net, parts.task.metric.primary
    return write_report(run, config, Validated(net, predict, dataset, records, scores, primary))


def _say_where(run: Run, summary: dict[str, Any], primary: str) -> None:
    for split in ("val", "test"):
        if split in summary:
            scores = {key: value for key, value in summary[split].items() if "/" not in key}
            _log.info("%s: %s", split, "  ".join(f"{key} {value:.4f}" for key, value in scores.items()))
    _log.info("best %s %.4f after epoch %d", primary, summary["val"][primary], summary["best_epoch"] + 1)
    _log.info("checkpoint:  %s", run.best_checkpoint)
    _log.info("predictions: %s", run.predictions)
    _log.info("curves:      %s", run.curves)
    _log.info("report:      %s", run.report)


def _write_json(path: Path, values: dict[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
