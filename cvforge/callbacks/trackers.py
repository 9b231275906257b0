"""MLflow and Weights & Biases beside the run's own records, when the config asks for them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from cvforge.config.schema import LoggingSection
from cvforge.errors import ConfigError

IDS_FILE = "trackers.json"


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


def flattened(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, with dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        flat.update(flattened(value, f"{name}.") if isinstance(value, dict) else {name: value})
    return flat


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
