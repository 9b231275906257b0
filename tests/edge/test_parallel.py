"""Parallel sessions and several sources: every frame once, in order, and none waits for a neighbour that is broken."""

from __future__ import annotations

import random
import threading
import time
from dataclasses import replace

import pytest

from cvforge_edge import pipeline
from cvforge_edge.errors import BackendError, SourceError
from cvforge_edge.inbox import Inbox
from cvforge_edge.pipeline import run_pipeline
from cvforge_edge.status import RunStatus, StatusBoard
from cvforge_edge.web.health import problem
from edge.test_pipeline import WAIT_S, GreyPredictor, ListSource, SilentCamera
from edge.web_client import wait_until


class UnevenPredictor(GreyPredictor):
    """Takes a different time for each frame, so that parallel sessions overtake each other."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.random = random.Random(seed)
        self.inside = threading.Lock()

    def predict(self, image_bgr):
        assert self.inside.acquire(blocking=False), "one session worked on two frames at the same time"
        time.sleep(self.random.uniform(0, 0.01))
        self.inside.release()
        return super().predict(image_bgr)


class ResultSink:
    """Keeps whole results."""

    def __init__(self) -> None:
        self.results, self.closed = [], False

    def write(self, result) -> None:
        self.results.append(result)

    def close(self) -> None:
        self.closed = True

    def summary(self) -> str:
        return ""


def named(source: ListSource, name: str) -> ListSource:
    source.name = name
    read = source.read
    source.read = lambda *, timeout_s: (
        None if (frame := read(timeout_s=timeout_s)) is None else replace(frame, source=name)
    )
    return source


def run(sources, predictors, sinks, *, stop=None, **options):
    return run_pipeline(sources, predictors, sinks=sinks, stop=stop or threading.Event(), **options)


@pytest.mark.parametrize("sessions", [1, 2, 5])
def test_results_of_every_source_leave_in_the_order_of_its_frames(sessions):
    sink = ResultSink()
    sources = [named(ListSource(range(60)), name) for name in ("a", "b", "c")]
    summary = run(sources, [UnevenPredictor(seed) for seed in range(sessions)], [sink])
    assert summary.frames == 180
    for name in ("a", "b", "c"):
        assert [result.frame.index for result in sink.results if result.frame.source == name] == list(range(60))


def test_every_result_belongs_to_its_own_frame():
    sink = ResultSink()
    run([ListSource(range(100))], [UnevenPredictor(seed) for seed in range(4)], [sink])
    for result in sink.results:
        assert float(result.prediction.probs[0]) == pytest.approx(result.frame.image_bgr.mean() / 255, abs=1e-6)


def test_sessions_work_at_the_same_time():
    together = threading.Barrier(3)

    class Meeting(GreyPredictor):
        def predict(self, image_bgr):
            together.wait(WAIT_S)  # broken unless three frames are in work at once
            return super().predict(image_bgr)

    assert run([ListSource(range(30))], [Meeting() for _ in range(3)], [ResultSink()]).frames == 30


def test_sources_take_turns():
    sink = ResultSink()
    sources = [named(ListSource(range(50)), "a"), named(ListSource(range(50)), "b")]
    run(sources, [UnevenPredictor(0)], [sink])
    first_half = [result.frame.source for result in sink.results[:50]]
    assert 20 <= first_half.count("a") <= 30


def test_silent_camera_does_not_stop_its_neighbours():
    stop, sink = threading.Event(), ResultSink()

    def end_after_the_file(done: int) -> None:
        if done == 41:
            stop.set()

    camera = named(SilentCamera([7]), "camera")
    run(
        [camera, named(ListSource(range(40)), "file")],
        [GreyPredictor()],
        [sink],
        stop=stop,
        on_frame=end_after_the_file,
    )
    assert sorted({result.frame.source for result in sink.results}) == ["camera", "file"]
    assert len(sink.results) == 41


def test_broken_source_ends_alone_and_its_error_comes_at_the_end():
    class Breaking(ListSource):
        def read(self, *, timeout_s):
            frame = super().read(timeout_s=timeout_s)
            if frame is not None and frame.index == 3:
                raise SourceError("clip.mp4: damaged")
            return frame

    sink = ResultSink()
    with pytest.raises(SourceError, match="damaged"):
        run([named(Breaking(range(10)), "bad"), named(ListSource(range(30)), "good")], [GreyPredictor()], [sink])
    assert [sum(one.frame.source == name for one in sink.results) for name in ("bad", "good")] == [3, 30]
    assert sink.closed


def test_failing_session_ends_the_run_and_every_thread():
    class Failing(GreyPredictor):
        def predict(self, image_bgr):
            raise BackendError("inference failed")

    before = set(threading.enumerate())
    with pytest.raises(BackendError, match="inference failed"):
        run([ListSource(range(1000))], [Failing(), UnevenPredictor(1)], [ResultSink()])
    deadline_s = time.monotonic() + WAIT_S
    while set(threading.enumerate()) - before and time.monotonic() < deadline_s:
        time.sleep(0.01)
    assert set(threading.enumerate()) - before == set()


def test_max_frames_counts_all_sources_together():
    sink = ResultSink()
    summary = run(
        [ListSource(range(100)), ListSource(range(100))],
        [UnevenPredictor(seed) for seed in range(3)],
        [sink],
        max_frames=25,
    )
    assert (summary.frames, len(sink.results)) == (25, 25)


def test_steps_see_the_results_of_their_own_source_in_order():
    class Remember:
        def __init__(self) -> None:
            self.seen: list[tuple[str, int]] = []

        def apply(self, result):
            self.seen.append((result.frame.source, result.frame.index))
            return replace(result, labels=(f"after {len(self.seen)}",) * len(result.labels))

    sink, steps = ResultSink(), [[Remember()], [Remember(), Remember()]]
    sources = [named(ListSource(range(20)), "a"), named(ListSource(range(20)), "b")]
    summary = run(sources, [UnevenPredictor(seed) for seed in range(3)], [sink], steps=steps)
    assert steps[0][0].seen == [("a", index) for index in range(20)]
    assert steps[1][1].seen == [("b", index) for index in range(20)]
    assert sink.results[-1].labels[0] == "after 20"
    assert "steps" in summary.latency


def test_slow_sink_holds_frames_of_a_file_back_and_lets_a_camera_drop_them():
    class Camera(ListSource):
        live = True

        def read(self, *, timeout_s):
            time.sleep(0.002)
            return super().read(timeout_s=timeout_s)

    class Slow(ResultSink):
        def write(self, result):
            time.sleep(0.02)
            super().write(result)

    sink = Slow()
    summary = run([Camera(range(200))], [GreyPredictor(), GreyPredictor()], [sink])
    indices = [result.frame.index for result in sink.results]
    assert summary.frames + summary.dropped == 200
    assert summary.dropped > 100
    assert indices == sorted(indices)


def test_frames_of_many_cameras_do_not_wait_behind_each_other():
    """Each shown picture is one of the newest: with all cameras together only a few frames are under way."""

    class Camera(ListSource):
        live = True

        def read(self, *, timeout_s):
            time.sleep(0.002)
            return super().read(timeout_s=timeout_s)

    class Counting(ResultSink):
        def write(self, result):
            time.sleep(0.02)
            super().write(result)

    cameras = [named(Camera(range(250)), str(number)) for number in range(6)]

    def under_way(_done: int) -> None:
        waiting.append(sum(lane.in_work for lane in inboxes[0]._lanes))

    inboxes, waiting = [], []
    made = pipeline.Inbox

    def remember(*arguments, **options):
        inboxes.append(made(*arguments, **options))
        return inboxes[0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "Inbox", remember)
        run(cameras, [GreyPredictor(), GreyPredictor()], [Counting()], on_frame=under_way)
    assert max(waiting) <= 3


def test_a_wanted_frame_waits_until_its_result_leaves_and_slow_cameras_wait_for_nothing():
    before_s = time.monotonic()
    with Inbox([ListSource(range(3)), SilentCamera([])], in_work=2) as inbox:
        first, second = inbox.take(), inbox.take()
        since_s, silent = inbox.waiting_since_s
        assert silent is None
        assert before_s <= since_s <= time.monotonic()
        finished_s = time.monotonic()
        inbox.finish(first)
        assert inbox.waiting_since_s[0] >= finished_s  # progress: the others wait from now on
        third = inbox.take()
        inbox.finish(second)
        assert inbox.waiting_since_s[0] is not None
        inbox.finish(third)
        assert inbox.waiting_since_s == (None, None)


def test_a_probe_hears_of_a_session_that_hangs_and_not_of_a_camera_that_is_rarely_asked():
    board, stop, hang = StatusBoard(RunStatus()), threading.Event(), threading.Event()
    source = SilentCamera([1])  # as with --max-fps 0.001: the next frame comes much later
    predictor = GreyPredictor()
    thread = threading.Thread(
        target=run, args=([source], [predictor], [ResultSink()]), kwargs={"stop": stop, "board": board}
    )

    def problem_a_minute_later() -> str | None:
        status, now_s = board.snapshot(), time.monotonic()
        return problem(replace(status, written_s=now_s + 60), now_s=now_s + 60)

    thread.start()
    wait_until(lambda: board.snapshot().cameras and board.snapshot().cameras[0].frames == 1)
    assert problem_a_minute_later() is None
    predictor.before = lambda: hang.wait(WAIT_S)
    source.items.append(2)
    wait_until(lambda: board.snapshot().cameras[0].waiting_since_s is not None)
    assert problem_a_minute_later() == "no result for 10 s although frames come: camera 0"
    hang.set()
    stop.set()
    thread.join()
