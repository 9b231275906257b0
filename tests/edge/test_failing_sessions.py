"""A model that fails while it runs is replaced; what fails again and again ends the run so that it is started anew."""

from __future__ import annotations

import json
import subprocess
import threading

import cv2
import pytest

from cvforge_edge.backends import open_backend
from cvforge_edge.errors import BackendError, InferenceError, SpecError, WatchdogError
from cvforge_edge.pipeline import run_pipeline
from cvforge_edge.sessions import SessionCare
from edge.fragile_model import BRIGHT, DARK, write_fragile_bundle, write_fragile_model
from edge.mjpeg import MjpegServer
from edge.test_parallel import ResultSink
from edge.test_pipeline import ListSource, SilentCamera
from edge.test_run_camera import command, run_camera
from edge.test_sessions import Model, answers, run
from edge.test_supervised_run import text_of, wait_for


class Failing(Model):
    """Fails at some frames, `failures` in all; then all is well with it."""

    def __init__(self, number: float, *, at=(), failures: int = 1000) -> None:
        super().__init__(number)
        self.at, self.failures = at, failures

    def predict(self, image_bgr):
        if image_bgr[0, 0, 0] in self.at and self.failures:
            self.failures -= 1
            raise InferenceError("model.onnx: inference failed: out of memory")
        return super().predict(image_bgr)


class Endless(SilentCamera):
    """A camera that goes on and on."""

    def read(self, *, timeout_s):
        self.items = self.items or [1]
        return super().read(timeout_s=timeout_s)


def test_a_runtime_that_fails_at_one_input_is_told_from_one_that_cannot_run_the_model(tmp_path):
    write_fragile_model(tmp_path / "model.onnx")
    backend = open_backend("onnxruntime", tmp_path / "model.onnx")
    assert backend.run(DARK[None])["probs"].tolist() == [[1, 0, 0]]
    with pytest.raises(InferenceError, match="inference failed: .*out of data bounds"):
        backend.run(BRIGHT[None])
    with pytest.raises(BackendError, match="found an input") as caught:
        backend.run(BRIGHT)
    assert not isinstance(caught.value, InferenceError)


def test_of_a_file_the_frame_at_which_a_model_failed_is_tried_again_with_a_new_one(caplog):
    failing, spare, sink = Failing(1, at=(5,)), Model(2), ResultSink()
    summary = run(ListSource(range(20)), [failing], sink, SessionCare(spare=lambda: spare))
    assert answers(sink) == [(n, 1.0 if n < 5 else 2.0) for n in range(20)]
    assert (summary.frames, summary.interrupted) == (20, False)
    assert "frame 5: model.onnx: inference failed: out of memory" in caplog.text
    assert (failing.closed, spare.closed) == (1, 1)


def test_neighbours_of_a_failing_session_go_on_and_the_order_stays():
    sink = ResultSink()
    models = [Failing(1, at=(3,)), Failing(1, at=(7,)), Model(1)]
    run(ListSource(range(60)), models, sink, SessionCare(spare=lambda: Model(2)))
    assert [index for index, _ in answers(sink)] == list(range(60))


def test_a_frame_of_a_file_at_which_a_new_model_fails_too_ends_the_run():
    sink, spares = ResultSink(), []

    def spare():
        spares.append(Failing(2, at=(5,)))
        return spares[-1]

    with pytest.raises(WatchdogError, match="list: frame 5, again with a new session: .*out of memory") as failed:
        run(ListSource(range(20)), [Failing(1, at=(5,))], sink, SessionCare(spare=spare))
    assert failed.value.exit_code == 13
    assert answers(sink) == [(n, 1.0) for n in range(5)]
    assert [model.closed for model in spares] == [1]


def test_of_a_camera_the_frame_is_given_up_and_the_run_goes_on():
    camera, stop, sink = SilentCamera([5]), threading.Event(), ResultSink()

    def spare():
        camera.items.append(6)
        return Model(2)

    def end(_done: int) -> None:
        stop.set()

    run_pipeline([camera], [Failing(1, at=(5,))], sinks=[sink], stop=stop, care=SessionCare(spare=spare), on_frame=end)
    assert answers(sink) == [(6, 2.0)]


def test_a_camera_whose_model_fails_again_and_again_ends_the_run():
    sink = ResultSink()
    failing = lambda: Failing(1, at=range(100))  # noqa: E731

    with pytest.raises(WatchdogError, match="inference failed .* after 2 sessions were replaced") as failed:
        run(Endless([1]), [failing()], sink, SessionCare(spare=failing, most_replaced=2))
    assert failed.value.exit_code == 13


def test_replacements_of_long_ago_do_not_count():
    sink, models = ResultSink(), [Failing(1, at=range(100)) for _ in range(8)] + [Model(2)]
    care = SessionCare(spare=lambda: models.pop(0), most_replaced=2, within_s=0.0)
    run(Endless([1]), [models.pop(0)], sink, care, max_frames=9)
    assert answers(sink) == [(1, 2.0)]
    assert models == []
    failing = lambda: Failing(1, at=range(100))  # noqa: E731
    with pytest.raises(WatchdogError, match="after 3 sessions were replaced within 60 minutes"):
        run(Endless([1]), [failing()], ResultSink(), SessionCare(spare=failing))


def test_a_new_model_that_cannot_be_loaded_ends_the_run_with_13_and_not_with_11():
    def spare():
        raise BackendError("delegate libedgetpu.so.1: it found no hardware")

    with pytest.raises(WatchdogError, match="inference failed .* cannot be replaced: .*found no hardware") as failed:
        run(ListSource(range(20)), [Failing(1, at=(5,))], ResultSink(), SessionCare(spare=spare))
    assert failed.value.exit_code == 13


def test_answers_that_are_no_numbers_are_a_failure_of_the_model():
    class Damaged(Failing):
        def predict(self, image_bgr):
            raise SpecError("scores: found NaN or Infinity")

    sink = ResultSink()
    run(ListSource(range(5)), [Damaged(1)], sink, SessionCare(spare=lambda: Model(2)))
    assert answers(sink) == [(n, 2.0) for n in range(5)]
    with pytest.raises(WatchdogError, match="frame 0, again with a new session: scores: found NaN") as failed:
        run(ListSource(range(5)), [Damaged(1)], ResultSink(), SessionCare(spare=lambda: Damaged(2)))
    assert failed.value.exit_code == 13


def test_a_run_does_not_wait_for_a_model_that_takes_long_to_load():
    go, spare_model, sink = threading.Event(), Model(2), ResultSink()

    def spare():
        assert go.wait(30)
        return spare_model

    def let_go(count: int) -> None:
        if count == 30:  # the other session goes on
            go.set()

    models = [Failing(1, at=range(100), failures=1), Model(1)]
    run(Endless([1]), models, sink, SessionCare(spare=spare), on_frame=let_go, max_frames=60)
    assert go.is_set()
    assert len(sink.results) >= 30


def test_without_spare_models_the_error_is_that_of_the_model():
    with pytest.raises(InferenceError, match="out of memory"):
        run(ListSource(range(20)), [Failing(1, at=(5,))], ResultSink(), SessionCare())


def test_the_program_ends_with_13_at_a_picture_that_no_session_computes(tmp_path):
    bundle = write_fragile_bundle(tmp_path / "bundle")
    (tmp_path / "photos").mkdir()
    for number, image in enumerate([DARK, DARK, BRIGHT, DARK]):
        cv2.imwrite(str(tmp_path / "photos" / f"{number}.png"), image)
    ended = run_camera("--bundle", bundle, "--source", "photos", "--json", "out.jsonl", "--sessions", 1, cwd=tmp_path)
    assert ended.returncode == 13, ended.stderr
    assert "2.png: frame 2, again with a new session: " in ended.stderr
    assert "out of data bounds" in ended.stderr
    assert [json.loads(line)["frame"] for line in text_of(tmp_path / "out.jsonl").splitlines()] == [0, 1]


def test_the_program_ends_with_13_where_a_camera_shows_nothing_that_a_session_computes(tmp_path):
    server = MjpegServer(image_bgr=DARK)
    bundle, lines = write_fragile_bundle(tmp_path / "bundle"), tmp_path / "out.jsonl"
    arguments = command("--bundle", bundle, "--source", f"http://127.0.0.1:{server.port}/stream", "--json", "out.jsonl")
    with subprocess.Popen(arguments, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        wait_for(lambda: text_of(lines).count("\n") > 3, process)
        server.image_bgr = BRIGHT
        _, errors = process.communicate(timeout=60)
    server.close()
    assert process.returncode == 13, errors
    assert errors.count("a new session takes over") == 3
    assert "after 3 sessions were replaced within 60 minutes; restart the program" in errors
