"""MLflow and Weights & Biases beside the run's own records, when the config asks for them."""

from __future__ import annotations

import io
import json
import logging
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from cvforge.config.schema import LoggingSection
from cvforge.errors import ConfigError

_log = logging.getLogger(__name__)
IDS_FILE = "trackers.json"
SENDING = ("log_metrics", "log_hyperparams", "save", "finalize", "after_save_checkpoint")
LOST = "is_lost"
"""Attribute of a tracker that failed."""


def build_trackers(section: LoggingSection, *, run_name: str, run_dir: Path) -> list[Logger]:
    """The trackers that the config names. A resumed run goes on in the same record.

    Args:
        section: which trackers, and where they are.
        run_name: the experiment in MLflow, and the beginning of the run's name.
        run_dir: the run's folder; MLflow's default database lies beside it.

    Raises:
        ConfigError: a tracker is asked for that is not installed.
    """
    ids = _read_ids(run_dir / IDS_FILE)
    trackers: list[Logger] = []
    if section.mlflow:
        trackers.append(_mlflow(section, run_name=run_name, run_dir=run_dir, run_id=ids.get("mlflow")))
    if section.wandb:
        trackers.append(_wandb(section, run_dir=run_dir, run_id=ids.get("wandb")))
    return trackers


@rank_zero_only
def remember_ids(trackers: list[Logger], run_dir: Path) -> None:
    """Write down under which ids the run is known, for resuming."""
    names = {"MLFlowLogger": "mlflow", "WandbLogger": "wandb"}
    ids = {names[type(t).__name__]: t.run_id if hasattr(t, "run_id") else t.experiment.id for t in trackers}
    if ids:
        (run_dir / IDS_FILE).write_text(json.dumps(ids, indent=2) + "\n", encoding="utf-8")


def forgiving(logger: Logger) -> Logger:
    """The same tracker; from now on its first failure is told, and nothing more is sent to it: the run goes on.

    A tracker that cannot be reached when a run starts ends it there; hours later that would help nobody.
    """
    for name in SENDING:
        setattr(logger, name, _forgiven(logger, getattr(logger, name)))
    return logger


def attach(loggers: Sequence[Logger], pictures: Mapping[str, bytes], *, page: Path, step: int) -> None:
    """Let every tracker show the figures and images of a report, and the report itself; one that fails is told, and left out.

    Args:
        loggers: of the run; those that show no pictures are passed over.
        pictures: PNG or JPEG by file name.
        page: the report.
        step: optimiser steps of the run.
    """
    ways = {"MLFlowLogger": _attach_mlflow, "WandbLogger": _attach_wandb, "TensorBoardLog": _attach_tensorboard}
    for logger in loggers:
        way = ways.get(type(logger).__name__)
        try:
            if way is not None and not getattr(logger, LOST, False):
                way(logger, pictures, page, step)
        except (
            Exception
        ) as error:  # a server that is gone, a disk that is full: the run's own report is written already
            _log.warning(
                "%s does not show the report (%s: %s); it lies at %s", _name(logger), type(error).__name__, error, page
            )


def _forgiven(logger: Logger, send: Callable[..., None]) -> Callable[..., None]:
    def attempt(*arguments: Any, **named: Any) -> None:
        if getattr(logger, LOST, False):
            return
        try:
            send(*arguments, **named)
        except Exception as error:
            setattr(logger, LOST, True)
            text = "%s failed (%s: %s) and is left out from here on; the run's own records go on"
            _log.warning(text, _name(logger), type(error).__name__, error)

    return attempt


def _name(logger: Logger) -> str:
    return type(logger).__name__.removesuffix("Logger").removesuffix("Log")


def _attach_mlflow(logger: Any, pictures: Mapping[str, bytes], page: Path, step: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name, content in pictures.items():
            (Path(folder) / name).write_bytes(content)
        logger.experiment.log_artifacts(logger.run_id, folder, "figures")
    logger.experiment.log_artifact(logger.run_id, str(page))


def _attach_wandb(logger: Any, pictures: Mapping[str, bytes], page: Path, step: int) -> None:
    import wandb
    from PIL import Image

    shown = {f"report/{Path(name).stem}": Image.open(io.BytesIO(content)) for name, content in pictures.items()}
    whole = {"report/page": wandb.Html(page.read_text(encoding="utf-8"), inject=False)}
    logger.experiment.log({name: wandb.Image(picture) for name, picture in shown.items()} | whole)


def _attach_tensorboard(logger: Any, pictures: Mapping[str, bytes], page: Path, step: int) -> None:
    for name, content in pictures.items():
        logger.log_picture(f"report/{Path(name).stem}", content, step=step)
    logger.finalize("success")


def _mlflow(section: LoggingSection, *, run_name: str, run_dir: Path, run_id: str | None) -> Logger:
    _require("mlflow")
    from pytorch_lightning.loggers import MLFlowLogger

    beside = run_dir.resolve().parent
    return MLFlowLogger(
        experiment_name=run_name,
        run_name=run_dir.name,
        tracking_uri=section.mlflow_uri or f"sqlite:///{beside / 'mlflow.db'}",
        artifact_location=None if section.mlflow_uri else (beside / "mlruns").as_uri(),
        run_id=run_id,
    )


def _wandb(section: LoggingSection, *, run_dir: Path, run_id: str | None) -> Logger:
    _require("wandb")
    from pytorch_lightning.loggers import WandbLogger

    os.environ.setdefault("WANDB_SILENT", "true")  # its banner would tear the progress display apart
    return WandbLogger(
        name=run_dir.name,
        project=section.wandb_project,
        save_dir=str(run_dir),
        offline=section.wandb_mode == "offline",
        id=run_id,
        resume="allow" if section.wandb_mode == "online" else None,
    )


def _require(package: str) -> None:
    import importlib.util

    if importlib.util.find_spec(package) is None:
        raise ConfigError(
            f"logging.{package}: {package} is not installed; in a clone of CVForge: pip install -e '.[track]', or set it to false"
        )


def _read_ids(path: Path) -> dict[str, str]:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
