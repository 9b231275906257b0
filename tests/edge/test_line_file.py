"""Files of lines that are set aside when they get too large."""

from __future__ import annotations

import os
import threading

import pytest

from cvforge_edge.errors import StorageError
from cvforge_edge.pipeline import run_pipeline
from cvforge_edge.sinks.csv_rows import CsvRows
from cvforge_edge.sinks.jsonl import JsonLines
from cvforge_edge.sinks.line_file import LineFile
from cvforge_edge.sinks.rotation import Rotation, set_aside
from edge.test_pipeline import GreyPredictor, SilentCamera
from edge.web_client import wait_until


def write_all(path, count, *, start=0, **options):
    lines = LineFile(str(path), **options)
    for index in range(start, start + count):
        lines.write(f"{index:04d}")
    lines.close()
    return lines


def contents(path):
    return [int(line) for line in path.read_text().splitlines()]


def test_files_are_set_aside_before_they_exceed_the_limit_and_the_newest_are_kept(tmp_path):
    path = tmp_path / "out.txt"
    lines = write_all(path, 21, rotation=Rotation(25, keep=3))  # five lines of five bytes
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.txt", "out.txt.1", "out.txt.2", "out.txt.3"]
    assert contents(path) == [20]
    assert contents(tmp_path / "out.txt.1") == [15, 16, 17, 18, 19]
    assert contents(tmp_path / "out.txt.3") == [5, 6, 7, 8, 9]
    assert lines.count == 21


def test_with_rotation_a_restart_keeps_what_is_there_and_without_it_is_replaced(tmp_path):
    path = tmp_path / "out.txt"
    write_all(path, 2)
    write_all(path, 2, start=2)
    assert contents(path) == [2, 3]
    write_all(path, 1, start=4, rotation=Rotation(25))
    assert (contents(path), contents(tmp_path / "out.txt.1")) == ([4], [2, 3])
    path.write_text("")
    write_all(path, 1, start=5, rotation=Rotation(25))
    assert not (tmp_path / "out.txt.2").exists()


def test_a_gap_that_a_killed_process_left_is_filled_before_the_oldest_is_given_up(tmp_path):
    path = tmp_path / "out.txt"
    for number, place in ((1, "out.txt"), (2, "out.txt.2"), (3, "out.txt.3")):
        (tmp_path / place).write_text(f"{number}\n")
    write_all(path, 1, start=9, rotation=Rotation(25, keep=3))
    assert [contents(tmp_path / f"out.txt{end}") for end in ("", ".1", ".2", ".3")] == [[9], [1], [2], [3]]


def test_each_file_has_the_header_and_a_longer_line_gets_a_file_of_its_own(tmp_path):
    path = tmp_path / "out.txt"
    lines = LineFile(str(path), rotation=Rotation(12, keep=5), header="head")
    for line in ("a", "b" * 30, "c"):
        lines.write(line)
    lines.close()
    texts = [(tmp_path / f"out.txt{end}").read_text() for end in (".2", ".1", "")]
    assert texts == ["head\na\n", "head\n" + "b" * 30 + "\n", "head\nc\n"]


def test_the_limit_counts_bytes_and_not_letters(tmp_path):
    path = tmp_path / "out.txt"
    lines = LineFile(str(path), rotation=Rotation(10))
    for _ in range(3):
        lines.write("äöü")  # seven bytes with its line break
    lines.close()
    assert path.stat().st_size == 7


def test_a_file_that_cannot_be_set_aside_is_a_storage_error_with_code_10(tmp_path):
    path = tmp_path / "out.txt"
    (tmp_path / "out.txt.1" / "folder").mkdir(parents=True)
    path.write_text("precious\n")
    with pytest.raises(StorageError, match="cannot be created") as caught:
        LineFile(str(path), rotation=Rotation(25, keep=1))
    assert caught.value.exit_code == 10
    assert path.read_text() == "precious\n"


@pytest.mark.parametrize("open_sink", [JsonLines, CsvRows])
def test_the_newest_lines_can_be_read_although_the_camera_gives_nothing_any_more(tmp_path, open_sink):
    path, stop = tmp_path / "out.txt", threading.Event()
    thread = threading.Thread(
        target=run_pipeline,
        args=([SilentCamera([1])], [GreyPredictor()]),
        kwargs={"sinks": [open_sink(str(path))], "stop": stop},
    )
    thread.start()
    try:
        wait_until(lambda: path.exists() and "grey" in path.read_text())
    finally:
        stop.set()
        thread.join()


def test_the_last_lines_reach_the_file_though_no_further_one_comes(tmp_path, monkeypatch):
    now_s = 100.0
    monkeypatch.setattr("cvforge_edge.sinks.line_file.time.monotonic", lambda: now_s)
    lines = LineFile(str(tmp_path / "out.txt"))
    lines.write("0000")
    lines.flush_if_due()
    assert contents(tmp_path / "out.txt") == []
    now_s += 0.5
    lines.flush_if_due()
    assert contents(tmp_path / "out.txt") == [0]
    lines.close()
    lines.flush_if_due()


def test_last_lines_that_cannot_be_stored_are_a_storage_error(monkeypatch):
    now_s = 100.0
    monkeypatch.setattr("cvforge_edge.sinks.line_file.time.monotonic", lambda: now_s)
    lines = LineFile("/dev/full")
    lines.write("0000")
    now_s += 0.5
    with pytest.raises(StorageError, match="the first 0 lines are stored") as caught:
        lines.flush_if_due()
    assert caught.value.exit_code == 10
    with pytest.raises(StorageError):
        lines.close()


def test_devices_and_pipes_are_never_set_aside(tmp_path):
    pipe = tmp_path / "out.txt"
    os.mkfifo(pipe)
    set_aside(pipe, keep=3)
    assert [path.name for path in tmp_path.iterdir()] == ["out.txt"]
    assert pipe.is_fifo()
