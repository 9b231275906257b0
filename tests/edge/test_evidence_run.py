"""Evidence in a real run: by the command, through the pipeline, beside tracking steps and regions, and never in its way."""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import subprocess
import threading
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from cvforge_edge.backends import choose_backend, open_backend
from cvforge_edge.bundle import open_bundle
from cvforge_edge.errors import EdgeError, StorageError
from cvforge_edge.events import Event
from cvforge_edge.evidence.evidence import Evidence
from cvforge_edge.evidence.glance import KEPT_GLANCES, Glances, WatchedPredictor
from cvforge_edge.evidence.options import add_evidence_options, open_evidence
from cvforge_edge.evidence.settings import EvidenceSettings
from cvforge_edge.evidence.sink import CLOSE_WITHIN_S, MAX_WAITING, EvidenceSink
from cvforge_edge.manifest import read_manifest, write_manifest
from cvforge_edge.pipeline import run_pipeline
from cvforge_edge.predictor import Predictor
from cvforge_edge.stats.statistics import Statistics
from cvforge_edge.status import Gauge, RunStatus, StatusBoard
from edge.conftest import MODELS, tiny_manifest, two_squares
from edge.evidence_frames import bundle_of, seen
from edge.mjpeg import MjpegServer
from edge.test_pipeline import ListSink, ListSource
from edge.test_run_camera import command, run_camera, wait_for_lines


def predictor_of(model: str) -> Predictor:
    backend = choose_backend(("onnx", "tflite"))
    form = "onnx" if "onnx" in backend else "tflite"
    return Predictor(open_backend(backend, MODELS / f"{model}.{form}"), tiny_manifest(model))


def add_reference(bundle: Path, *, brightness: int) -> None:
    """Reference statistics of pictures that are about so bright."""
    manifest = read_manifest(bundle)
    reference = Statistics(manifest.task, manifest.labels)
    rng = np.random.default_rng(0)
    with Predictor.from_bundle(bundle) as predictor:
        for _ in range(60):
            image = np.clip(rng.normal(brightness, 10) + rng.normal(0, 5, (64, 96, 3)), 0, 255).astype(np.uint8)
            reference.add(image, predictor.predict(image))
    write_manifest(replace(manifest, reference_statistics=reference.to_value()), bundle)


def wait_until(condition, *, timeout_s: float = 60.0) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, "waited in vain"
        time.sleep(0.02)


@pytest.fixture
def night(tmp_path: Path) -> Path:
    """30 seconds of a dark picture with a bright red square, which for one frame is not there."""
    writer = cv2.VideoWriter(str(tmp_path / "night.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (192, 128))
    for index in range(300):
        frame = np.zeros((128, 192, 3), np.uint8)
        if index != 150:
            frame[32:64, 32:64] = (0, 0, 255)
        writer.write(frame)
    writer.release()
    return tmp_path / "night.avi"


def test_a_run_finds_the_drift_and_the_frame_that_does_not_fit(make_bundle, night, tmp_path):
    bundle = make_bundle("detector", formats=("onnx",))
    add_reference(bundle, brightness=150)
    run = run_camera("--bundle", bundle, "--source", night, "--evidence", "e", "--json", "out.jsonl", cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    assert "drift: pictures are darker than in training" in run.stderr
    report = json.loads((tmp_path / "e" / "drift.json").read_text())
    [camera] = report["cameras"].values()
    assert (camera["level"], camera["hour"]["images"]) == ("drift", 60)
    records = [json.loads(path.read_text()) for path in (tmp_path / "e" / "frames").glob("*.json")]
    assert 150 in [one["frame"] for one in records if one["reasons"][0]["kind"] == "flicker"]
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert len(lines) == 300


def test_the_same_clip_gives_the_same_evidence(make_bundle, night, tmp_path):
    bundle = make_bundle("detector", formats=("onnx",))
    for folder in ("a", "b"):
        run = run_camera("--bundle", bundle, "--source", night, "--evidence", folder, "--sessions", 2, cwd=tmp_path)
        assert run.returncode == 0, run.stderr
    names = [sorted(path.name for path in (tmp_path / folder / "frames").iterdir()) for folder in ("a", "b")]
    assert names[0] == names[1] != []


@pytest.mark.parametrize("model", ["classifier", "segmenter"])
def test_other_tasks_give_evidence_too(make_bundle, night, tmp_path, model):
    bundle = make_bundle(model, formats=("onnx",))
    add_reference(bundle, brightness=150)
    run = run_camera(
        "--bundle", bundle, "--source", night, "--evidence", "e", "--evidence-pictures", "none", cwd=tmp_path
    )
    assert run.returncode == 0, run.stderr
    assert "darker than in training" in run.stderr
    assert {path.suffix for path in (tmp_path / "e" / "frames").iterdir()} <= {".json"}


def asked_for(*arguments: str):
    """What the options ask for, of the bundle of a detector."""
    parser = argparse.ArgumentParser(prog="run_camera.py")
    add_evidence_options(parser.add_argument_group("evidence"))
    return open_evidence(parser.parse_args(arguments), bundle_of(), names=["clip.mp4"])


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--evidence-pictures", "none"), 2, "--evidence-pictures belongs to --evidence FOLDER"),
        (("--evidence-max-mb", "5"), 2, "--evidence-max-mb belongs to --evidence FOLDER"),
        (("--evidence", "e", "--evidence-blur", "red"), 2, "belongs to --evidence-pictures blurred"),
        (
            ("--evidence", "e", "--evidence-pictures", "blurred", "--evidence-blur", "green"),
            2,
            "--evidence-blur: found green, the model knows red, blue",
        ),
        (("--evidence", "file"), 10, "cannot be created for its owner alone"),
        (("--evidence", "/proc/e"), 10, "/proc/e: cannot be created"),
    ],
)
def test_options_that_cannot_work_end_with_a_message_and_their_code(tmp_path, monkeypatch, arguments, code, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(EdgeError, match=words) as caught:
        asked_for(*arguments)
    assert caught.value.exit_code == code


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--evidence", "e", "--evidence-max-mb", "0"), "accepted whole numbers of at least 1"),
        (("--evidence", "e", "--evidence-pictures", "some"), "invalid choice"),
        (("--evidence", "e", "--evidence-blur", "red,"), "accepted labels with commas between them"),
    ],
)
def test_values_that_options_do_not_accept_end_with_code_2(capsys, arguments, words):
    with pytest.raises(SystemExit) as caught:
        asked_for(*arguments)
    assert caught.value.code == 2
    assert words in capsys.readouterr().err


def test_without_a_folder_there_is_no_evidence():
    assert asked_for() is None


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--self-test", "--evidence", "e"), "--evidence: needs a --source"),
        (("--source", "0", "--evidence-pictures", "none"), "--evidence-pictures belongs to --evidence FOLDER"),
    ],
)
def test_the_command_refuses_before_it_opens_anything(tmp_path, arguments, words):
    run = run_camera("--bundle", "NONE", *arguments, cwd=tmp_path)
    assert (run.returncode, words in run.stderr) == (2, True)
    assert "Traceback" not in run.stderr


def test_a_watched_model_says_what_it_says_unwatched_and_leaves_a_glance():
    with predictor_of("detector") as predictor:
        glances = Glances()
        watched = WatchedPredictor(predictor, bundle=bundle_of(), glances=glances)
        image = two_squares()
        found, expected = watched.predict(image), predictor.predict(image)
        np.testing.assert_array_equal(found.boxes_xyxy, expected.boxes_xyxy)
        glance = glances.take(image)
        assert glance.prediction is found
        assert set(glance.outputs) == {"boxes", "scores"}
        assert glances.take(image) is None


def test_drift_is_judged_with_the_thresholds_of_the_bundle():
    with predictor_of("detector") as predictor:
        glances, usual = Glances(), predictor.manifest.postprocess
        strict = predictor.with_postprocess(replace(usual, score_threshold=1.0))
        image = two_squares()
        WatchedPredictor(strict, bundle=bundle_of(), glances=glances).predict(image)
        glance = glances.take(image)
        assert (len(glance.prediction), len(glance.usual_prediction)) == (0, 2)


def test_a_glance_at_a_region_belongs_to_its_picture():
    glances = Glances()
    image, other = two_squares(), two_squares()
    glances.put(replace(seen(image=image[10:50, 20:60]).glance))
    assert glances.take(other) is None
    assert glances.take(image).image_bgr.shape == (40, 40, 3)


def test_glances_whose_results_never_come_are_forgotten():
    glances = Glances()
    images = [two_squares() for _ in range(KEPT_GLANCES + 5)]
    for image in images:
        glances.put(seen(image=image).glance)
    assert sum(glances.take(image) is not None for image in images) == KEPT_GLANCES


class StubEvidence:
    """Takes what comes, as slowly as it is told, and has one event to tell."""

    def __init__(self, *, gate: threading.Event | None = None, event_after: int | None = None) -> None:
        self.gate, self.event_after, self.taken, self.closed = gate, event_after, [], False

    def take(self, seen) -> None:
        if self.gate is not None:
            self.gate.wait(30)
        self.taken.append((seen.camera, seen.frame.index))

    def judge_if_due(self):
        if self.event_after is None or len(self.taken) < self.event_after:
            return []
        self.event_after = None
        return [(0, Event("drift:brightness", "drift_began", "list", 1, 0.1, None))]

    def close(self) -> None:
        self.closed = True

    def summary(self) -> str:
        return f"{len(self.taken)} taken"

    def gauges(self):
        return (Gauge("cvforge_evidence_frames", "Hard frames.", 3.0),)


class Session:
    """A watched session that says nothing about anything."""

    times = None

    def __init__(self, sink: EvidenceSink, model: str = "detector") -> None:
        self.manifest, self.sink = tiny_manifest(model), sink

    def predict(self, image_bgr):
        frame = seen(image=image_bgr)
        self.sink._glances.put(frame.glance)
        return frame.glance.prediction

    def close(self) -> None:
        pass


def sink_of(evidence) -> EvidenceSink:
    return EvidenceSink(lambda _: evidence, bundle_of())


def test_every_frame_of_a_file_reaches_the_evidence_in_order():
    evidence = StubEvidence()
    sink = sink_of(evidence)
    run_pipeline([ListSource(range(60))], [Session(sink)], sinks=[sink], stop=threading.Event())
    assert evidence.taken == [(0, index) for index in range(60)]
    assert evidence.closed


def test_results_know_their_camera():
    evidence = StubEvidence()
    sink = sink_of(evidence)
    run_pipeline([ListSource(range(5)), ListSource(range(5))], [Session(sink)], sinks=[sink], stop=threading.Event())
    assert sorted(evidence.taken) == [(camera, index) for camera in (0, 1) for index in range(5)]


def test_a_disk_that_hangs_delays_no_frame_of_a_camera_and_what_is_left_out_is_counted(monkeypatch):
    gate = threading.Event()
    sink = sink_of(StubEvidence(gate=gate))
    begun_s = time.monotonic()
    for index in range(200):
        frame = seen(index=index, unix_time_s=1.8e9 + index)
        sink._glances.put(frame.glance)
        sink.write(_result(frame))
    assert time.monotonic() - begun_s < CLOSE_WITHIN_S  # 200 frames for a thread that stands still
    left_out = int(sink.summary().split("; ")[1].split()[0])
    assert 200 - MAX_WAITING - 1 <= left_out <= 200 - MAX_WAITING
    gate.set()
    sink.close()


def _result(frame):
    from cvforge_edge.frame import Result

    return Result(frame.frame, frame.glance.prediction, ("red", "blue"))


def test_a_reloaded_model_has_evidence_of_its_own_also_when_it_comes_back_and_late_frames_are_left(caplog):
    opened = []

    def open_one(bundle):
        if bundle.manifest_sha256 == "c" * 64:
            raise StorageError("no room")
        opened.append((bundle.manifest_sha256[0], StubEvidence()))
        return opened[-1][1]

    bundles = [bundle_of(sha256=sha256 * 64) for sha256 in "abaac"]  # the fourth: loaded again without a change
    sink = EvidenceSink(open_one, bundles[0])
    with predictor_of("detector") as predictor:
        for index, load in enumerate((0, 0, 1, 0, 1, 2, 1, 2, 3, 2, 3, 4, 3, 4)):
            frame = seen(index=index)
            sink.watched(predictor, bundles[load]).predict(frame.frame.image_bgr)
            sink.write(_result(frame))
        sink.close()
    taken = [(name, [index for _, index in evidence.taken], evidence.closed) for name, evidence in opened]
    assert taken == [("a", [0, 1], True), ("b", [2, 4], True), ("a", [5, 7, 8, 9, 10], True)]
    assert caplog.text.count("none is kept of the reloaded model: no room") == 1


def test_an_unexpected_error_ends_the_evidence_and_neither_the_run_nor_that_of_the_next_model(caplog):
    class Broken(StubEvidence):
        def take(self, seen) -> None:
            raise ZeroDivisionError("a mistake")

    opened = [Broken(), StubEvidence()]
    left = iter(opened)
    bundles = [bundle_of(), bundle_of(sha256="b" * 64)]
    sink = EvidenceSink(lambda _: next(left), bundles[0])
    with predictor_of("detector") as predictor:
        for index in range(3 * MAX_WAITING):  # a thread that is gone would take the first ones only
            frame = seen(index=index)
            sink.watched(predictor, bundles[0]).predict(frame.frame.image_bgr)
            sink.write(_result(frame))
        wait_until(
            lambda: (
                sink.summary() == "evidence: ended by an unexpected error, see the log; a reload of the bundle "
                "begins anew"
            )
        )
        assert sink.gauges() == ()
        assert caplog.text.count("ZeroDivisionError: a mistake") == 1
        frame = seen(index=99)
        sink.watched(predictor, bundles[1]).predict(frame.frame.image_bgr)
        sink.write(_result(frame))
        sink.close()
    assert opened[1].taken == [(0, 99)]


def test_after_an_unexpected_error_a_reload_of_the_same_bundle_begins_anew():
    class Broken(StubEvidence):
        def take(self, seen) -> None:
            raise ZeroDivisionError("a mistake")

    opened = [Broken(), StubEvidence()]
    left = iter(opened)
    sink = EvidenceSink(lambda _: next(left), bundle_of())
    with predictor_of("detector") as predictor:
        for index, bundle in ((1, bundle_of()), (2, bundle_of())):
            frame = seen(index=index)
            sink.watched(predictor, bundle).predict(frame.frame.image_bgr)
            sink.write(_result(frame))
            wait_until(lambda index=index: "unexpected error" in sink.summary() or index == 2)
        sink.close()
    assert opened[0].closed
    assert opened[1].taken == [(0, 2)]


def test_a_spare_of_the_running_model_that_is_loaded_during_a_reload_does_not_pass_for_a_newer_one():
    running, offered = bundle_of(), bundle_of(sha256="b" * 64)
    opened = []

    def open_one(bundle):
        opened.append(bundle.manifest_sha256[0])
        return StubEvidence()

    sink = EvidenceSink(open_one, running)
    with predictor_of("detector") as predictor:
        first, new, spare = (sink.watched(predictor, bundle) for bundle in (running, offered, running))
        for index, session in enumerate((first, spare, new)):
            frame = seen(index=index)
            session.predict(frame.frame.image_bgr)
            sink.write(_result(frame))
        sink.close()
    assert opened == ["a", "b"]


def test_a_reload_of_the_running_command_is_followed(make_bundle, night, tmp_path):
    folder, newer = make_bundle("detector", formats=("onnx",)), tmp_path / "newer"
    shutil.copytree(folder, newer)
    write_manifest(replace(read_manifest(newer), version=2), newer)
    server = MjpegServer()
    address = f"http://127.0.0.1:{server.port}/stream"
    arguments = ("--bundle", folder, "--source", address, "--evidence", "e", "--json", "out.jsonl")
    try:
        with subprocess.Popen(command(*arguments), cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
            wait_for_lines(tmp_path / "out.jsonl", process)
            shutil.copy(newer / "manifest.json", folder / "manifest.json")
            process.send_signal(signal.SIGHUP)
            state = tmp_path / "e" / "drift.json"  # written when the old model's evidence ends
            wait_until(lambda: state.exists())
            process.send_signal(signal.SIGTERM)
            _, errors = process.communicate(timeout=60)
    finally:
        server.close()
    assert process.returncode == 0, errors
    assert json.loads(state.read_text())["model"]["version"] == 2, errors


def test_a_drift_reaches_the_results_as_an_event_once_and_the_board_as_a_number():
    sink, board = sink_of(StubEvidence(event_after=3)), StatusBoard(RunStatus())

    class Events(ListSink):
        def write(self, result) -> None:
            self.rows += result.events

    class SlowSource(ListSource):
        def read(self, *, timeout_s: float):
            time.sleep(0.02)
            return super().read(timeout_s=timeout_s)

    events = Events()
    run_pipeline(
        [SlowSource(range(60))],
        [Session(sink)],
        sinks=[events, sink],
        steps=[[sink.step(0)]],
        stop=threading.Event(),
        board=board,
    )
    assert [(event.rule, event.kind) for event in events.rows] == [("drift:brightness", "drift_began")]
    assert [(gauge.name, gauge.value) for gauge in board.snapshot().gauges] == [("cvforge_evidence_frames", 3.0)]


def test_steps_that_change_answers_do_not_change_the_evidence(tmp_path, make_bundle):
    bundle = open_bundle(make_bundle("detector", formats=("onnx",)))

    class DropAll:
        def apply(self, result):
            return replace(result, prediction=result.prediction.select(np.zeros(0, np.int64)))

    class Squares(ListSource):
        def read(self, *, timeout_s: float):
            frame = super().read(timeout_s=timeout_s)
            return None if frame is None else replace(frame, image_bgr=two_squares())

    sink = EvidenceSink(lambda of: Evidence(EvidenceSettings(tmp_path / "e"), of, names=["list"]), bundle)
    with predictor_of("detector") as predictor:
        run_pipeline(
            [Squares(range(40))],
            [sink.watched(predictor, bundle)],
            sinks=[sink],
            steps=[[DropAll()]],
            stop=threading.Event(),
        )
    state = json.loads((tmp_path / "e" / "drift_state.json").read_text())["cameras"]["list"]["since_start"]
    assert state["prediction"]["objects"]["mean"] == 2
