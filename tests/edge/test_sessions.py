"""Sessions that are stuck are replaced, and models are exchanged under way, without a frame out of order."""

from __future__ import annotations

import os
import signal
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest

from cvforge_edge.cli import call_on_hangup, stop_on_signals
from cvforge_edge.errors import BundleError, WatchdogError
from cvforge_edge.pipeline import run_pipeline
from cvforge_edge.reload import Reloader, check_exchangeable
from cvforge_edge.sessions import SessionCare
from cvforge_edge.types import ClassScores, Task
from edge.test_parallel import ResultSink
from edge.test_pipeline import WAIT_S, ListSource, SilentCamera


class Model:
    """Answers with its own number; frames of `stuck_on` are never answered."""

    times = None

    def __init__(self, number: float, *, labels=("a",), stuck_on=(), release: threading.Event | None = None) -> None:
        self.manifest = SimpleNamespace(
            labels=labels, task=Task.CLASSIFICATION, name=f"m{number:g}", version=int(number)
        )
        self.number, self.stuck_on, self.closed, self.release = number, stuck_on, 0, release

    def predict(self, image_bgr):
        assert not self.closed, "a closed model was asked"
        if image_bgr[0, 0, 0] in self.stuck_on:
            self.release.wait(WAIT_S)
        return ClassScores(np.array([self.number], np.float32))

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def release():
    """Lets every stuck thread go at the end of a test."""
    event = threading.Event()
    yield event
    event.set()


def run(source, predictors, sink, care, **options):
    return run_pipeline([source], predictors, sinks=[sink], stop=threading.Event(), care=care, **options)


def answers(sink: ResultSink) -> list[tuple[int, float]]:
    return [(result.frame.index, float(result.prediction.probs[0])) for result in sink.results]


def test_a_stuck_session_is_replaced_and_only_its_frame_is_lost(release, caplog):
    spare, sink = Model(2), ResultSink()
    care = SessionCare(limit_s=0.3, spare=lambda: spare)
    summary = run(ListSource(range(20)), [Model(1, stuck_on=(5,), release=release)], sink, care)
    assert answers(sink) == [(n, 1.0 if n < 5 else 2.0) for n in range(20) if n != 5]
    assert (summary.frames, summary.interrupted) == (19, False)
    assert "inference of frame 5 takes longer than 0.3 s" in caplog.text
    assert spare.closed == 1


def test_neighbours_of_a_stuck_session_go_on_and_the_order_stays(release):
    sink = ResultSink()
    models = [Model(1, stuck_on=(3,), release=release), Model(1, stuck_on=(3,), release=release)]
    run(ListSource(range(30)), models, sink, SessionCare(limit_s=0.3, spare=lambda: Model(2)))
    assert [index for index, _ in answers(sink)] == [n for n in range(30) if n != 3]


def test_what_is_stuck_again_and_again_ends_the_run(release):
    sink = ResultSink()
    stuck = lambda: Model(1, stuck_on=range(100), release=release)  # noqa: E731
    with pytest.raises(WatchdogError, match="stuck .* after 2 sessions were replaced") as failed:
        run(ListSource(range(30)), [stuck()], sink, SessionCare(limit_s=0.1, spare=stuck, most_replaced=2))
    assert failed.value.exit_code == 13
    with pytest.raises(WatchdogError, match="after 0 sessions"):
        run(ListSource(range(30)), [stuck()], sink, SessionCare(limit_s=0.1))


def test_an_answer_that_comes_too_late_is_ignored():
    late = threading.Event()
    sink = ResultSink()

    def release_late(done: int) -> None:
        if done == 10:
            late.set()
            time.sleep(0.1)

    care = SessionCare(limit_s=0.2, spare=lambda: Model(2))
    run(ListSource(range(30)), [Model(1, stuck_on=(4,), release=late)], sink, care, on_frame=release_late)
    assert [index for index, _ in answers(sink)] == [n for n in range(30) if n != 4]


class MeetingModel(Model):
    """Its first answer waits until the other one was asked, too: each session takes a frame."""

    def __init__(self, number: float, meeting: threading.Barrier) -> None:
        super().__init__(number)
        self._meeting: threading.Barrier | None = meeting

    def predict(self, image_bgr):
        meeting, self._meeting = self._meeting, None
        if meeting is not None:
            meeting.wait(WAIT_S)
        return super().predict(image_bgr)


def test_models_are_exchanged_between_frames_and_the_old_ones_closed_once():
    meeting = threading.Barrier(2)
    old, new = [Model(1), Model(1)], [MeetingModel(2, meeting), MeetingModel(2, meeting)]
    sink, given = ResultSink(), []

    def reloaded():
        if len(sink.results) >= 10 and not given:
            given.append(True)
            return new
        return None

    run(ListSource(range(200)), old, sink, SessionCare(reloaded=reloaded))
    numbers = [number for _, number in answers(sink)]
    assert [index for index, _ in answers(sink)] == list(range(200))
    assert numbers[:10] == [1.0] * 10
    assert numbers[-100:] == [2.0] * 100
    assert [model.closed for model in new] == [1, 1]
    assert [model.closed for model in old] == [1, 1]


def test_a_second_exchange_before_the_next_frame_closes_the_model_that_never_ran():
    camera, stop, sink = SilentCamera([1]), threading.Event(), ResultSink()
    never, last = Model(2), Model(3)
    pending = [[never], [last]]

    def reloaded():
        if not sink.results:
            return None
        if not pending:
            camera.items.append(7) if len(sink.results) == 1 and camera.read_count == 1 else None
            return None
        return pending.pop(0)

    def end(done: int) -> None:
        if done == 2:
            stop.set()

    run_pipeline([camera], [Model(1)], sinks=[sink], stop=stop, care=SessionCare(reloaded=reloaded), on_frame=end)
    assert [number for _, number in answers(sink)] == [1.0, 3.0]
    assert (never.closed, last.closed) == (1, 1)


def test_a_session_that_cannot_be_replaced_ends_the_run_with_the_watchdogs_code(release):
    def spare():
        raise BundleError("model_fp32.onnx: altered")

    stuck = Model(1, stuck_on=(3,), release=release)
    with pytest.raises(WatchdogError, match="stuck .* cannot be replaced: model_fp32.onnx: altered") as failed:
        run(ListSource(range(30)), [stuck], ResultSink(), SessionCare(limit_s=0.1, spare=spare))
    assert failed.value.exit_code == 13


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="this system has no SIGHUP")
def test_signals_that_come_while_the_lock_of_their_action_is_held_do_not_block():
    lock, done, stop = threading.Lock(), threading.Event(), threading.Event()

    def action():
        with lock:
            done.set()

    with call_on_hangup(action, terminal_closed=pytest.fail), stop_on_signals(stop):
        with lock, stop._cond:  # what a thread in `stop.set()` holds
            os.kill(os.getpid(), signal.SIGHUP)
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.05)
        assert done.wait(WAIT_S)
        assert stop.wait(WAIT_S)


def wait_for(what) -> None:
    deadline_s = time.monotonic() + WAIT_S
    while not what() and time.monotonic() < deadline_s:
        time.sleep(0.01)
    assert what()


def test_a_reload_gives_its_models_once(caplog):
    models = [Model(2)]
    reloader = Reloader(lambda: models, is_ready=lambda: True)
    assert reloader.take() is None
    reloader.request()
    wait_for(lambda: "m2 version 2 takes over" in caplog.text)
    assert reloader.take() is models
    assert reloader.take() is None


@pytest.mark.parametrize(
    ("load", "reason"),
    [
        (lambda: (_ for _ in ()).throw(BundleError("manifest.json: missing")), "manifest.json: missing"),
        (lambda: (_ for _ in ()).throw(MemoryError("no room")), "no room"),
    ],
)
def test_a_reload_that_fails_leaves_the_running_model(load, reason, caplog):
    reloader = Reloader(load, is_ready=lambda: True)
    reloader.request()
    wait_for(lambda: "the old model goes on" in caplog.text)
    wait_for(lambda: not reloader._busy)
    assert reason in caplog.text
    assert reloader.take() is None


def test_a_model_of_other_labels_or_another_task_is_no_exchange():
    running = Model(1).manifest
    check_exchangeable(running, Model(2).manifest)
    with pytest.raises(BundleError, match="labels: found a, b, running a: .* restart the program"):
        check_exchangeable(running, Model(2, labels=("a", "b")).manifest)
    other = SimpleNamespace(labels=("a",), task=Task.DETECTION)
    with pytest.raises(BundleError, match="task: found detection, running classification"):
        check_exchangeable(running, other)


def test_requests_during_a_reload_are_carried_out_once_after_it():
    begun, go, count = threading.Event(), threading.Event(), []

    def load():
        count.append(1)
        begun.set()
        go.wait(WAIT_S)
        return [Model(len(count))]

    reloader = Reloader(load, is_ready=lambda: True)
    for _ in range(5):
        reloader.request()
        assert begun.wait(WAIT_S)
    go.set()
    wait_for(lambda: not reloader._busy)
    assert len(count) == 2
    assert reloader.take()[0].number == 2
