"""MLflow and Weights & Biases really record, on files alone."""

from __future__ import annotations

import importlib.util
import json
import sqlite3
import time
import warnings
from pathlib import Path

import pytest

from cvforge.callbacks import trackers
from cvforge.callbacks.trackers import build_trackers, flattened, remember_ids
from cvforge.config.schema import LoggingSection
from cvforge.errors import ConfigError

WRITTEN_WITHIN_S = 60  # wandb's own process goes on writing after finish() has returned


def test_without_wish_there_is_no_tracker(tmp_path: Path) -> None:
    assert build_trackers(LoggingSection(), run_name="det", run_dir=tmp_path) == []


def test_nested_values_become_dotted_names() -> None:
    assert flattened({"a": {"b": 1, "c": {"d": 2}}, "e": [3]}) == {"a.b": 1, "a.c.d": 2, "e": [3]}


@pytest.mark.parametrize("name", ["mlflow", "wandb"])
def test_a_tracker_that_is_not_installed_is_named(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda package: None)
    told = rf"logging.{name}: {name} is not installed; in a clone of CVForge: pip install -e '.\[track\]'"
    with pytest.raises(ConfigError, match=told):
        build_trackers(LoggingSection(**{name: True}), run_name="det", run_dir=tmp_path)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("mlflow") is None, reason="mlflow is not installed")
def test_mlflow_records_in_a_database_beside_the_runs_and_goes_on_after_a_resume(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "det-1"
    folder.mkdir(parents=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of mlflow's own dependencies
        for step in (1, 2):
            (tracker,) = build_trackers(LoggingSection(mlflow=True), run_name="det", run_dir=folder)
            tracker.log_hyperparams({"optim.lr": 0.1})
            remember_ids([tracker], folder)
            tracker.log_metrics({"val/map": 0.1 * step}, step=step)
            tracker.finalize("success")
    with sqlite3.connect(tmp_path / "runs" / "mlflow.db") as database:
        metrics = database.execute("select key, value, step from metrics order by step").fetchall()
        runs = database.execute("select name from runs").fetchall()
        experiments = database.execute("select name from experiments where name != 'Default'").fetchall()
    database.close()
    assert metrics == [("val/map", pytest.approx(0.1), 1), ("val/map", pytest.approx(0.2), 2)]
    assert runs == [("det-1",)]
    assert experiments == [("det",)]


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("wandb") is None, reason="wandb is not installed")
def test_wandb_records_offline_in_the_run_folder(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of wandb's own dependencies
        (tracker,) = build_trackers(LoggingSection(wandb=True), run_name="det", run_dir=tmp_path)
        remember_ids([tracker], tmp_path)
        tracker.log_metrics({"val/map": 0.5}, step=1)
        tracker.experiment.finish()
    assert json.loads((tmp_path / trackers.IDS_FILE).read_text())["wandb"]
    (recording,) = (tmp_path / "wandb").glob("offline-run-*/run-*.wandb")
    deadline = time.monotonic() + WRITTEN_WITHIN_S
    while b"val/map" not in recording.read_bytes() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert b"val/map" in recording.read_bytes()
