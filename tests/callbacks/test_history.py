"""The records of a run: CSV, TensorBoard, curves, contact sheet."""

from __future__ import annotations

import contextlib
from pathlib import Path

import cv2
import numpy as np
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.tensorflow_stub.errors import OutOfRangeError
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import PyRecordReader_New

from cvforge.callbacks.curves import draw_curves
from cvforge.callbacks.history import CsvHistory
from cvforge.callbacks.tensorboard_log import TensorBoardLog
from cvforge.data.types import Sample
from cvforge.history import read_history
from cvforge.report.contact_sheet import draw_contact_sheet
from cvforge_edge.types import ClassLabel, ClassScores


def test_a_new_name_becomes_a_column_and_earlier_rows_stay(tmp_path: Path) -> None:
    history = CsvHistory(tmp_path / "metrics.csv")
    history.log_metrics({"train/loss": 2.0, "epoch": 0}, step=3)
    history.log_metrics({"val/map": 0.25, "epoch": 0}, step=5)
    assert (tmp_path / "metrics.csv").read_text().splitlines() == [
        "epoch,step,train/loss,val/map",
        "0,3,2.0,",
        "0,5,,0.25",
    ]


def test_a_resumed_run_drops_the_steps_that_it_takes_again(tmp_path: Path) -> None:
    history = CsvHistory(tmp_path / "metrics.csv")
    for step in range(4):
        history.log_metrics({"train/loss": float(step), "epoch": 0}, step=step)
    resumed = CsvHistory(tmp_path / "metrics.csv", first_step=2)
    resumed.log_metrics({"train/loss": 20.0, "epoch": 0}, step=2)
    assert [row["train/loss"] for row in read_history(tmp_path / "metrics.csv")] == [0.0, 1.0, 20.0]


def test_tensorboard_reads_what_was_logged(tmp_path: Path) -> None:
    log = TensorBoardLog(tmp_path)
    log.log_metrics({"train/loss": 0.5, "val/map": 0.25}, step=7)
    log.finalize("success")
    (file,) = tmp_path.iterdir()
    reader = PyRecordReader_New(str(file))  # TensorBoard's own reader; its loaders would import TensorFlow
    events = []
    with contextlib.suppress(OutOfRangeError):
        while True:
            reader.GetNext()
            events.append(Event.FromString(reader.record()))
    assert events[0].file_version == "brain.Event:2"
    assert [(e.step, v.tag, v.simple_value) for e in events[1:] for v in e.summary.value] == [
        (7, "train/loss", 0.5),
        (7, "val/map", 0.25),
    ]


def test_curves_are_drawn_from_the_history(tmp_path: Path) -> None:
    history = CsvHistory(tmp_path / "metrics.csv")
    for step in range(40):
        history.log_metrics({"train/loss": 1 / (step + 1), "train/lr": 0.1, "epoch": 0}, step=step)
    history.log_metrics({"val/top1": 0.5, "epoch": 0}, step=39)
    assert draw_curves(tmp_path / "metrics.csv", tmp_path / "curves.png", title="a run")
    picture = cv2.imread(str(tmp_path / "curves.png"))
    assert picture.shape[0] > 900  # three panels
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 50
    assert [file.name for file in sorted(tmp_path.iterdir())] == ["curves.png", "metrics.csv"]


def test_without_history_there_are_no_curves(tmp_path: Path) -> None:
    assert not draw_curves(tmp_path / "metrics.csv", tmp_path / "curves.png", title="a run")
    assert list(tmp_path.iterdir()) == []


def test_the_contact_sheet_shows_truth_and_prediction_of_each_image() -> None:
    samples = [Sample(np.full((60, 80, 3), 40 * i, np.uint8), ClassLabel(i), f"{i}.png") for i in range(3)]
    asked = []

    def predict(image: np.ndarray) -> ClassScores:
        asked.append(int(image[0, 0, 0]))
        return ClassScores(np.array([0.2, 0.3, 0.5], np.float32))

    sheet = draw_contact_sheet(samples, predict, labels=("a", "b", "c"))
    one = draw_contact_sheet(samples[:1], predict, labels=("a", "b", "c"))
    assert asked == [0, 40, 80, 0]
    assert sheet.dtype == np.uint8
    assert sheet.shape[1] > 1.8 * one.shape[1]
    assert sheet.shape[0] > 1.8 * one.shape[0]
