"""The pipeline gives every frame of a file once and in order, stops when told, and always closes its sinks."""

from __future__ import annotations

import io
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest

from cvforge_edge.errors import ImageError, StorageError
from cvforge_edge.frame import Frame
from cvforge_edge.inbox import Inbox
from cvforge_edge.latency import KEPT_SAMPLES, LatencyRecorder
from cvforge_edge.pipeline import run_pipeline
from cvforge_edge.progress import Progress
from cvforge_edge.sinks.jsonl import JsonLines
from cvforge_edge.types import ClassScores

WAIT_S = 10.0


class ListSource:
    """A file of as many frames as there are numbers; an exception in the list is raised where it stands."""

    live, name, fps, dropped = False, "list", 10.0, 0

    def __init__(self, items) -> None:
        self.items, self.ended, self.frame_count, self.read_count = list(items), False, len(items), 0

    def read(self, *, timeout_s: float):
        if not self.items:
            self.ended = True
            return None
        item = self.items.pop(0)
        if isinstance(item, Exception):
            raise item
        self.read_count += 1
        return Frame(np.full((2, 2, 3), item, np.uint8), item, item / 10, None, "list", time.monotonic())


class SilentCamera(ListSource):
    """A camera that gives its frames and then nothing, without an end."""

    live = True

    def read(self, *, timeout_s: float):
        if self.items:
            return super().read(timeout_s=timeout_s)
        time.sleep(min(timeout_s, 0.01))
        return None


class GreyPredictor:
    """Says the grey level of the image, as a share of 255."""

    manifest, times = SimpleNamespace(labels=("grey",)), None

    def __init__(self, *, before=lambda: None) -> None:
        self.before = before

    def predict(self, image_bgr):
        self.before()
        return ClassScores(np.array([image_bgr[0, 0, 0] / 255], np.float32))


class ListSink:
    """Keeps the frame numbers and the predictions."""

    def __init__(self, *, fail_at: int | None = None) -> None:
        self.rows, self.closed, self.fail_at = [], False, fail_at

    def write(self, result) -> None:
        if result.frame.index == self.fail_at:
            raise StorageError("full")
        self.rows.append((result.frame.index, round(float(result.prediction.probs[0]) * 255)))

    def close(self) -> None:
        self.closed = True

    def summary(self) -> str:
        return ""


def run(source, sinks, *, predictor=None, stop=None, **options):
    predictor = predictor or GreyPredictor()
    return run_pipeline([source], [predictor], sinks=sinks, stop=stop or threading.Event(), **options)


def test_every_frame_of_a_file_is_predicted_once_in_order():
    sinks = [ListSink(), ListSink()]
    seen = []
    summary = run(ListSource(range(50)), sinks, on_frame=seen.append)
    assert sinks[0].rows == sinks[1].rows == [(i, i) for i in range(50)]
    assert seen == list(range(1, 51))
    assert (summary.frames, summary.dropped, summary.interrupted) == (50, 0, False)
    assert all(sink.closed for sink in sinks)
    assert list(summary.latency) == ["queue", "wait", "predict", "write", "age"]


def test_last_lines_are_in_the_file_while_a_camera_is_silent(tmp_path):
    stop, path = threading.Event(), tmp_path / "out.jsonl"
    options = {"sinks": [JsonLines(str(path))], "stop": stop}
    thread = threading.Thread(target=run_pipeline, args=([SilentCamera([7])], [GreyPredictor()]), kwargs=options)
    thread.start()
    try:
        deadline_s = time.monotonic() + WAIT_S
        while not path.exists() or not path.read_text().endswith("\n"):
            assert time.monotonic() < deadline_s, "the lines do not come"
            time.sleep(0.01)
    finally:
        stop.set()
        thread.join()


def test_source_without_frames_gives_an_empty_summary():
    summary = run(ListSource([]), [ListSink()])
    assert (summary.frames, summary.fps, summary.latency) == (0, 0.0, {})
    assert summary.lines() == ["0 frames in 0.0 s, 0.0 frames/s, 0 dropped"]


def test_run_ends_after_the_most_frames_asked_for():
    sink = ListSink()
    summary = run(ListSource(range(50)), [sink], max_frames=3)
    assert [index for index, _ in sink.rows] == [0, 1, 2]
    assert not summary.interrupted


def test_stop_ends_the_run_after_the_frame_in_work_and_closes_the_sinks():
    stop, sink = threading.Event(), ListSink()
    summary = run(ListSource(range(50)), [sink], stop=stop, on_frame=lambda done: stop.set() if done == 4 else None)
    assert [index for index, _ in sink.rows] == [0, 1, 2, 3]
    assert summary.interrupted
    assert sink.closed


def test_stop_is_heard_within_a_second_while_a_camera_is_silent():
    stop, sink = threading.Event(), ListSink()
    threading.Timer(0.05, stop.set).start()
    begun_s = time.monotonic()
    summary = run(SilentCamera([1, 2]), [sink], stop=stop)
    assert time.monotonic() - begun_s < 1.0
    assert (summary.frames + summary.dropped, summary.interrupted) == (2, False)  # the newest frame wins
    assert sink.closed


def test_error_of_a_sink_ends_the_run_and_closes_all_sinks():
    good, full = ListSink(), ListSink(fail_at=2)
    with pytest.raises(StorageError, match="full"):
        run(ListSource(range(50)), [good, full])
    assert good.closed
    assert full.closed
    assert [index for index, _ in good.rows] == [0, 1, 2]


def test_error_of_the_source_comes_after_all_frames_before_it():
    sink = ListSink()
    with pytest.raises(ImageError, match="broken"):
        run(ListSource([0, 1, 2, ImageError("broken"), 4]), [sink])
    assert [index for index, _ in sink.rows] == [0, 1, 2]
    assert sink.closed


def test_decoding_runs_ahead_of_the_model_but_only_a_few_frames():
    source = ListSource(range(50))
    ahead = []

    def wait_for_decoder() -> None:
        deadline = time.monotonic() + 0.5
        while source.read_count < 5 and time.monotonic() < deadline:
            time.sleep(0.001)
        ahead.append(source.read_count)

    run(source, [], predictor=GreyPredictor(before=wait_for_decoder), max_frames=1)
    # One frame is in the model, three wait, and the decoder holds one more.
    assert ahead == [5]


def test_reading_threads_end_when_nobody_takes_frames():
    inbox = Inbox([ListSource(range(1000))], in_work=1)
    ticket = inbox.take()
    assert ticket is not None
    assert ticket.frame.index == 0
    inbox.close()
    assert inbox.take() is None
    assert "read list" not in [thread.name for thread in threading.enumerate()]


def test_latencies_are_percentiles_in_milliseconds_of_the_newest_samples():
    recorder = LatencyRecorder()
    for duration_ms in range(101):
        recorder.add("predict", duration_ms / 1000)
    figures = recorder.percentiles()["predict"]
    assert (figures.p50_ms, figures.p95_ms) == (pytest.approx(50), pytest.approx(95))
    for _ in range(KEPT_SAMPLES):
        recorder.add("predict", 0.5)
    assert recorder.percentiles()["predict"].p50_ms == pytest.approx(500)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "expected"),
    [(Terminal(), "\r\x1b[Kframe 8/20  40%  4.0 frames/s\r\x1b[K"), (io.StringIO(), "")],
)
def test_progress_is_rewritten_on_a_terminal_and_rare_in_a_log(monkeypatch, stream, expected):
    now = [100.0]
    monkeypatch.setattr("cvforge_edge.progress.time.monotonic", lambda: now[0])
    progress = Progress(stream, total=20)
    progress.update(1)
    now[0] = 102.0
    progress.update(8)
    progress.close()
    assert stream.getvalue() == expected


def test_progress_in_a_log_is_one_line_now_and_then(monkeypatch):
    now, stream = [100.0], io.StringIO()
    monkeypatch.setattr("cvforge_edge.progress.time.monotonic", lambda: now[0])
    progress = Progress(stream, total=None)
    for second in range(1, 26):
        now[0] = 100.0 + second
        progress.update(second * 30)
    assert stream.getvalue() == "frame 300  30.0 frames/s\nframe 600  30.0 frames/s\n"
