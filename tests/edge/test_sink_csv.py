"""CSV as other programs read it: columns for every task, events, times, quoting."""

from __future__ import annotations

import csv
import dataclasses
from datetime import datetime, timezone

import numpy as np
import pytest

from cvforge_edge.errors import BackendError, StorageError
from cvforge_edge.events import Event
from cvforge_edge.sinks.content import Content
from cvforge_edge.sinks.csv_rows import COLUMNS, CsvRows, utc_text
from cvforge_edge.sinks.line_file import Rotation
from cvforge_edge.types import ClassScores, Detections, SegmentationMap
from edge.sink_results import detections, result

EVENT = Event("door", "line_crossed", "0", 17, 1.25, 1700000000.1234, label="red", track_id=9, value=1.0)


def rows_of(path, *results, **options):
    """What Python's own reader finds in the file, cells that are empty left out."""
    sink = CsvRows(str(path), **options)
    for one in results:
        sink.write(one)
    sink.close()
    sink.close()
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file, strict=True)
        rows = [{name: cell for name, cell in row.items() if cell != ""} for row in reader]
    assert tuple(reader.fieldnames) == COLUMNS
    assert sink.summary() == f"{path}: {len(rows)} rows of CSV"
    return rows


def test_each_detection_is_a_row_the_surest_first(tmp_path):
    found = rows_of(tmp_path / "out.csv", result(3, prediction=detections()), result(4))
    start = {"time_s": "0.3", "source": "clip.mp4", "frame": "3", "row": "detection"}
    assert found == [
        {**start, "label": "red", "class_id": "0", "score": "0.75", "x1": "5.0", "y1": "6.0", "x2": "7.0", "y2": "8.0"},
        {
            **start,
            "label": "blue",
            "class_id": "1",
            "score": "0.25",
            "x1": "1.0",
            "y1": "2.0",
            "x2": "3.456",
            "y2": "4.0",
        },
    ]


def test_track_ids_and_the_time_of_a_camera_are_written(tmp_path):
    boxes = detections()
    tracked = Detections(boxes.boxes_xyxy, boxes.scores, boxes.class_ids, track_ids=np.array([7, 9], np.int64))
    found = rows_of(tmp_path / "out.csv", result(prediction=tracked, unix_time_s=1700000000.1234, source="0"))
    assert [row["track_id"] for row in found] == ["9", "7"]
    moment = datetime.fromisoformat(found[0]["time_utc"].replace("Z", "+00:00"))
    assert moment == datetime(2023, 11, 14, 22, 13, 20, 123000, tzinfo=timezone.utc)


def test_classes_and_shares_of_a_picture_are_rows(tmp_path):
    classes = rows_of(tmp_path / "out.csv", result(prediction=ClassScores(np.array([0.25, 0.75], np.float32))))
    assert [(row["row"], row["label"], row["score"]) for row in classes] == [
        ("class", "blue", "0.75"),
        ("class", "red", "0.25"),
    ]
    class_map = np.zeros((2, 4), np.uint8)
    class_map[0], class_map[1, 0] = 1, 255
    shares = rows_of(tmp_path / "shares.csv", result(prediction=SegmentationMap(class_map)))
    assert [(row["row"], row["label"], row.get("class_id"), row["value"]) for row in shares] == [
        ("pixel_share", "red", "0", "0.375"),
        ("pixel_share", "blue", "1", "0.5"),
        ("pixel_share", "void", None, "0.125"),
    ]


@pytest.mark.parametrize(
    ("content", "kinds"),
    [
        (Content.RESULTS, ["detection", "detection"]),
        (Content.EVENTS, ["event"]),
        (Content.BOTH, ["detection", "detection", "event"]),
    ],
)
def test_events_have_rows_where_they_are_asked_for(tmp_path, content, kinds):
    one = dataclasses.replace(result(prediction=detections()), events=(EVENT,))
    found = rows_of(tmp_path / "out.csv", one, content=content)
    assert [row["row"] for row in found] == kinds
    if content.has_events:
        assert found[-1] == {
            "time_utc": "2023-11-14T22:13:20.123Z",
            "time_s": "1.25",
            "source": "0",
            "frame": "17",
            "row": "event",
            "label": "red",
            "track_id": "9",
            "rule": "door",
            "event": "line_crossed",
            "value": "1.0",
        }


def test_commas_quotes_and_line_breaks_in_names_come_back(tmp_path):
    name = 'a,"b"\nc.mp4'
    (found, _) = rows_of(tmp_path / "out.csv", result(prediction=detections(), source=name))
    assert found["source"] == name


def test_every_file_of_a_rotation_can_be_read_alone(tmp_path):
    path = tmp_path / "out.csv"
    written = [result(index, prediction=detections()) for index in range(20)]
    sink = CsvRows(str(path), rotation=Rotation(600, keep=50))
    for one in written:
        sink.write(one)
    sink.close()
    parts = [path, *(tmp_path / f"out.csv.{n}" for n in range(1, len(list(tmp_path.iterdir()))))]
    frames = []
    for part in reversed(parts):
        assert part.stat().st_size <= 600
        with part.open(newline="", encoding="utf-8") as file:
            frames += [int(row["frame"]) for row in csv.DictReader(file)]
    assert frames == [index for index in range(20) for _ in range(2)]
    assert len(parts) > 3


def test_a_time_just_below_a_second_is_rounded_and_not_cut():
    assert utc_text(1700000000.9996) == "2023-11-14T22:13:21.000Z"


def test_nan_is_an_error_and_not_a_cell(tmp_path):
    sink = CsvRows(str(tmp_path / "out.csv"))
    with pytest.raises(BackendError, match="NaN"):
        sink.write(result(prediction=ClassScores(np.array([np.nan, 0.5], np.float32))))
    sink.close()


def test_csv_on_a_full_disk_is_a_storage_error_with_code_10():
    sink = CsvRows("/dev/full")
    with pytest.raises(StorageError, match="No space left on device") as caught:
        sink.close()
    assert caught.value.exit_code == 10
