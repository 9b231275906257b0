"""Lines of JSON: what they say, when they are on disk, and an error with code 10 when the disk is full."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest

from cvforge_edge.errors import BackendError, StorageError
from cvforge_edge.sinks.jsonl import JsonLines, json_record
from cvforge_edge.types import ClassScores, Detections, SegmentationMap
from edge.sink_results import detections, result


def test_detections_become_a_json_line_with_the_surest_first(tmp_path):
    sink = JsonLines(str(tmp_path / "out.jsonl"))
    sink.write(result(3, prediction=detections()))
    sink.write(result(4))
    sink.close()
    sink.close()
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert lines[0] == {
        "frame": 3,
        "time_s": 0.3,
        "unix_time_s": None,
        "source": "clip.mp4",
        "width": 64,
        "height": 48,
        "detections": [
            {"label": "red", "class_id": 0, "score": 0.75, "box_xyxy": [5.0, 6.0, 7.0, 8.0]},
            {"label": "blue", "class_id": 1, "score": 0.25, "box_xyxy": [1.0, 2.0, 3.456, 4.0]},
        ],
    }
    assert lines[1]["detections"] == []
    assert sink.summary() == f"{tmp_path / 'out.jsonl'}: 2 lines of JSON"


def test_other_predictions_have_their_own_key():
    classes = json_record(result(prediction=ClassScores(np.array([0.25, 0.75], np.float32))))["classes"]
    assert classes == [
        {"label": "blue", "class_id": 1, "score": 0.75},
        {"label": "red", "class_id": 0, "score": 0.25},
    ]
    class_map = np.zeros((2, 4), np.uint8)
    class_map[0] = 1
    class_map[1, 0] = 255
    shares = json_record(result(prediction=SegmentationMap(class_map)))["pixel_shares"]
    assert shares == {"red": 0.375, "blue": 0.5, "void": 0.125}


def test_track_ids_and_camera_time_are_written():
    boxes = detections()
    tracked = Detections(boxes.boxes_xyxy, boxes.scores, boxes.class_ids, track_ids=np.array([7, 9], np.int64))
    record = json_record(result(prediction=tracked, unix_time_s=1700000000.12345, source="0"))
    assert [row["track_id"] for row in record["detections"]] == [9, 7]
    assert record["unix_time_s"] == 1700000000.123


def test_nan_is_an_error_and_not_invalid_json(tmp_path):
    sink = JsonLines(str(tmp_path / "out.jsonl"))
    with pytest.raises(BackendError, match="NaN"):
        sink.write(result(prediction=ClassScores(np.array([np.nan, 0.5], np.float32))))
    sink.close()
    assert (tmp_path / "out.jsonl").read_text() == ""


def test_lines_reach_the_file_while_the_run_goes_on(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr("cvforge_edge.sinks.line_file.time", SimpleNamespace(monotonic=lambda: now[0]))
    sink = JsonLines(str(tmp_path / "out.jsonl"))
    sink.write(result(0))
    now[0] = 101.0
    sink.write(result(1))
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 2
    sink.close()


def test_json_on_a_full_disk_is_a_storage_error_with_code_10():
    sink = JsonLines("/dev/full")
    sink.write(result())
    with pytest.raises(StorageError, match=r"/dev/full: cannot be written \(No space left on device\)") as caught:
        sink.close()
    assert "first 0 lines are stored" in str(caught.value)
    assert caught.value.exit_code == 10
    sink.close()


@pytest.mark.parametrize("name", ["missing/out.jsonl", "."])
def test_json_file_that_cannot_be_created_is_a_storage_error(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StorageError, match="cannot be created"):
        JsonLines(name)
