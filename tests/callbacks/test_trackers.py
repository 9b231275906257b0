"""MLflow and Weights & Biases really record, on files alone."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import sqlite3
import time
import warnings
from pathlib import Path

import cv2
import numpy as np
import pytest
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.tensorflow_stub.errors import OutOfRangeError
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import PyRecordReader_New

from cvforge.callbacks import trackers
from cvforge.callbacks.history import CsvHistory
from cvforge.callbacks.tensorboard_log import TensorBoardLog
from cvforge.callbacks.trackers import attach, build_trackers, forgiving, remember_ids
from cvforge.config.schema import LoggingSection
from cvforge.errors import ConfigError

WRITTEN_WITHIN_S = 60  # wandb's own process goes on writing after finish() has returned


def test_without_wish_there_is_no_tracker(tmp_path: Path) -> None:
    assert build_trackers(LoggingSection(), run_name="det", run_dir=tmp_path) == []


@pytest.mark.parametrize("name", ["mlflow", "wandb"])
def test_a_tracker_that_is_not_installed_is_named(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda package: None)
    told = rf"logging.{name}: {name} is not installed; in a clone of CVForge: pip install -e '.\[track\]'"
    with pytest.raises(ConfigError, match=told):
        build_trackers(LoggingSection(**{name: True}), run_name="det", run_dir=tmp_path)


def picture(fmt: str) -> bytes:
    shades = np.linspace(0, 255, 40 * 60, dtype=np.uint8).reshape(40, 60)
    return bytes(cv2.imencode(fmt, cv2.merge([shades] * 3))[1].tobytes())


PICTURES = {"confusion.png": picture(".png"), "worst-1.jpg": picture(".jpg")}


def written_page(folder: Path) -> Path:
    page = folder / "report.html"
    page.write_text("<!DOCTYPE html><title>run</title>", encoding="utf-8")
    return page


def test_tensorboard_shows_the_pictures_of_a_report(tmp_path: Path) -> None:
    log = TensorBoardLog(tmp_path / "events")
    attach([log], PICTURES, page=written_page(tmp_path), step=7)
    log.finalize("success")
    (file,) = (tmp_path / "events").iterdir()
    reader = PyRecordReader_New(str(file))  # TensorBoard's own reader; its loaders would import TensorFlow
    events = []
    with contextlib.suppress(OutOfRangeError):
        while True:
            reader.GetNext()
            events.append(Event.FromString(reader.record()))
    found = [
        (e.step, v.tag, v.image.width, v.image.height, v.image.encoded_image_string)
        for e in events
        for v in e.summary.value
    ]
    assert found == [
        (7, "report/confusion", 60, 40, PICTURES["confusion.png"]),
        (7, "report/worst-1", 60, 40, PICTURES["worst-1.jpg"]),
    ]


def test_a_tracker_that_fails_is_told_and_ends_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "events").write_text("a file where the folder should be")
    page = written_page(tmp_path)
    good = TensorBoardLog(tmp_path / "good")
    attach(
        [TensorBoardLog(tmp_path / "events"), CsvHistory(tmp_path / "metrics.csv"), good], PICTURES, page=page, step=7
    )
    assert (
        f"TensorBoard does not show the report (FileExistsError: [Errno 17] File exists: '{tmp_path / 'events'}')"
        in caplog.text
    )
    assert str(page) in caplog.text
    good.finalize("success")
    assert len(list((tmp_path / "good").iterdir())) == 1


def test_a_tracker_that_fails_while_a_run_goes_on_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "disk").mkdir()
    tracker = forgiving(CsvHistory(tmp_path / "disk" / "metrics.csv"))
    tracker.log_metrics({"val/map": 0.1}, 1)
    assert "0.1" in (tmp_path / "disk" / "metrics.csv").read_text()
    (tmp_path / "disk").rename(tmp_path / "gone")
    for step in (2, 3):
        tracker.log_metrics({"val/map": 0.2}, step)
    tracker.finalize("success")
    assert caplog.text.count("CsvHistory failed (FileNotFoundError") == 1
    (tmp_path / "gone").rename(tmp_path / "disk")
    tracker.log_metrics({"val/map": 0.3}, 4)
    assert "0.3" not in (tmp_path / "disk" / "metrics.csv").read_text()


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("mlflow") is None, reason="mlflow is not installed")
def test_mlflow_shows_the_report_and_its_pictures_also_of_a_record_that_is_closed(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "det-1"
    folder.mkdir(parents=True)
    page = written_page(folder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of mlflow's own dependencies
        (tracker,) = build_trackers(LoggingSection(mlflow=True), run_name="det", run_dir=folder)
        tracker.log_metrics({"val/map": 0.5}, step=1)
        tracker.finalize("success")
        attach([tracker], PICTURES, page=page, step=1)
        found = {path.name: path for path in (tmp_path / "runs" / "mlruns").rglob("*") if path.is_file()}
        listed = [entry.path for entry in tracker.experiment.list_artifacts(tracker.run_id)]
    assert sorted(listed) == ["figures", "report.html"]
    assert found["report.html"].read_bytes() == page.read_bytes()
    assert {name: found[name].read_bytes() for name in PICTURES} == PICTURES


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


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("wandb") is None, reason="wandb is not installed")
def test_wandb_shows_the_report_and_its_pictures(tmp_path: Path) -> None:
    page = written_page(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of wandb's own dependencies
        (tracker,) = build_trackers(LoggingSection(wandb=True), run_name="det", run_dir=tmp_path)
        attach([tracker], PICTURES, page=page, step=1)
        tracker.experiment.finish()
    media = [path.name for path in tmp_path.glob("wandb/offline-run-*/files/media/**/*") if path.is_file()]
    assert sorted(name.partition("_")[0] for name in media) == ["confusion", "page", "worst-1"]
