"""Classes, tracking, smoothing and rules from the command line, on real clips and bundles."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from cvforge_edge.errors import RulesError, UsageError
from cvforge_edge.step_options import add_step_options, lowest_score, plan_steps, usual_score
from cvforge_edge.steps.class_filter import ClassFilter
from cvforge_edge.steps.event_log import EventLog
from cvforge_edge.steps.rule_engine import RuleEngine
from cvforge_edge.steps.tracker import Tracker
from cvforge_edge.steps.tracking_defaults import LOWEST_SCORE
from cvforge_edge.types import Detections
from edge.conftest import tiny_manifest
from edge.sink_results import result

EDGE = Path(__file__).resolve().parents[2] / "deploy" / "edge"
RULES = """
units: fraction
rules:
  - {name: corner, kind: zone_occupancy, zone: [[0.7, 0.5], [1, 0.5], [1, 1], [0.7, 1]], labels: [blue], for_s: 0.25}
"""


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """24 frames of 192 x 128 pixels, 12 a second: a red square, and a blue one in the lower right corner from 0.5 s on."""
    writer = cv2.VideoWriter(str(tmp_path / "clip.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 12.0, (192, 128))
    for index in range(24):
        frame = np.zeros((128, 192, 3), np.uint8)
        frame[32:64, 32:64] = (0, 0, 255)
        if index >= 6:
            frame[64:96, 160:192] = (255, 0, 0)
        writer.write(frame)
    writer.release()
    (tmp_path / "rules.yaml").write_text(RULES)
    return tmp_path / "clip.mp4"


def run_camera(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", str(EDGE / "run_camera.py"), *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120, check=False)


def records_of(run: subprocess.CompletedProcess[str]) -> list[dict]:
    assert run.returncode == 0, run.stderr
    return [json.loads(line) for line in run.stdout.splitlines()]


def options(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("--score-threshold", type=float)
    add_step_options(parser.add_argument_group("steps"))
    return parser.parse_args([str(one) for one in arguments])


def test_a_clip_is_tracked_and_its_rules_give_events(make_bundle, clip, tmp_path):
    bundle = make_bundle("detector", formats=("onnx",))
    run = run_camera(
        "--bundle", bundle, "--source", clip, "--track", "--rules", "rules.yaml", "--json", "-", "--save", "out/",
        cwd=tmp_path,
    )  # fmt: skip
    records = records_of(run)
    ids = [{row["label"]: row["track_id"] for row in record["detections"]} for record in records]
    assert ids == [{}] + [{"red": 1}] * 6 + [{"red": 1, "blue": 2}] * 17
    lines = [line for line in run.stderr.splitlines() if "corner" in line]
    assert lines == [f"EVENT {clip} 0.83 s: corner: occupancy_began 1.00"]
    events = {record["frame"]: record["events"] for record in records if "events" in record}
    assert list(events) == [10]
    assert [(event["rule"], event["kind"], event["value"]) for event in events[10]] == [
        ("corner", "occupancy_began", 1.0)
    ]
    quiet, active = (cv2.imread(str(tmp_path / "out" / f"clip_{frame:06d}.jpg"))[100:124, 140:188] for frame in (4, 20))
    assert active[..., 2].mean() > quiet[..., 2].mean() + 15  # the zone turns red


def test_only_the_named_classes_leave(make_bundle, clip, tmp_path):
    bundle = make_bundle("detector", formats=("onnx",))
    run = run_camera("--bundle", bundle, "--source", clip, "--classes", "blue", "--json", "-", cwd=tmp_path)
    labels = [[row["label"] for row in record["detections"]] for record in records_of(run)]
    assert labels == [[]] * 6 + [["blue"]] * 18


def test_a_classifier_is_smoothed(make_bundle, clip, tmp_path):
    bundle = make_bundle("classifier", formats=("onnx",))
    arguments = ("--bundle", bundle, "--source", clip, "--json", "-")
    plain = records_of(run_camera(*arguments, cwd=tmp_path))
    smooth = records_of(run_camera(*arguments, "--smooth", 2, cwd=tmp_path))

    def jump(records: list[dict]) -> float:
        scores = [{row["label"]: row["score"] for row in record["classes"]}["blue"] for record in records]
        return float(np.abs(np.diff(scores)).max())

    assert 0 < jump(smooth) < jump(plain) / 5


def test_a_segmentation_keeps_some_classes_and_is_drawn_as_strongly_as_asked(make_bundle, clip, tmp_path):
    bundle = make_bundle("segmenter", formats=("onnx",))
    run = run_camera(
        "--bundle", bundle, "--source", clip, "--classes", "red", "--mask-opacity", 1, "--json", "-", cwd=tmp_path
    )
    assert set(records_of(run)[20]["pixel_shares"]) == {"red", "void"}


@pytest.mark.parametrize(
    ("model", "arguments", "words"),
    [
        ("detector", ("--smooth",), "--smooth: is for classification, but tiny-detector does detection; leave it out"),
        ("classifier", ("--track",), "--track: is for detection"),
        ("classifier", ("--classes", "red"), "--classes: is for detection and segmentation"),
        ("detector", ("--mask-opacity", "0.5"), "--mask-opacity: is for segmentation"),
        ("detector", ("--classes", "bleu,red"), "--classes: found bleu; did you mean blue?"),
        ("detector", ("--classes", "red=2"), "found '2', accepted numbers from 0 to 1"),
        ("detector", ("--classes", "red,red"), "accepted different labels with commas between them"),
        ("detector", ("--smooth", "0"), "accepted seconds above 0"),
        ("detector", ("--rules", "rules.yaml"), "rules for detection are about objects that are followed; add --track"),
        ("detector", ("--track", "--rules", "none.yaml"), "none.yaml: cannot be read (No such file or directory)"),
        ("detector", ("--track", "--rules", "wrong.yaml"), "rules[0].name: missing, expected text"),
        ("detector", ("--track", "--rules", "other.yaml"), "rules: no source is called b.mp4; there are "),
    ],
)
def test_what_cannot_work_ends_with_a_message_and_code_2(make_bundle, clip, tmp_path, model, arguments, words):
    (tmp_path / "wrong.yaml").write_text("units: fraction\nrules: [{kind: class_change}]\n")
    (tmp_path / "other.yaml").write_text(RULES.replace("for_s", "sources: [b.mp4], for_s"))
    bundle = make_bundle(model, formats=("onnx",))
    run = run_camera("--bundle", bundle, "--source", clip, *arguments, cwd=tmp_path)
    assert run.returncode == 2, run.stderr
    assert words in run.stderr
    assert "Traceback" not in run.stderr


def test_a_tracker_asks_the_model_for_low_scores_and_keeps_the_thresholds():
    manifest = tiny_manifest("detector")
    usual = manifest.postprocess.score_threshold
    assert lowest_score(options(), manifest.postprocess) == usual
    assert plan_steps(options(), manifest).steps_for("a") == []
    assert lowest_score(options("--classes", "red=0.05,blue=0.9"), manifest.postprocess) == 0.05
    assert lowest_score(options("--classes", "red,blue=0.9"), manifest.postprocess) == usual
    tracking = options("--track", "5", "--classes", "blue=0.9", "--score-threshold", "0.4")
    assert lowest_score(tracking, manifest.postprocess) == LOWEST_SCORE
    plan = plan_steps(tracking, manifest)
    assert (plan.score_threshold, plan.lowest_scores, plan.keep_lost_s) == (0.4, {1: 0.9}, 5.0)


def test_running_steps_take_the_threshold_of_another_bundle_but_not_the_users_own():
    manifest = tiny_manifest("detector")
    seen = Detections(
        np.array([[0, 0, 9, 9], [20, 0, 29, 9]], np.float32), np.array([0.5, 0.5], np.float32), np.arange(2)
    )
    for arguments, kept in ((("--classes", "red,blue=0.4"), [1]), (("--track", "--classes", "red,blue=0.4"), [1]),
                            (("--track",), []), (("--track", "--score-threshold", "0.3"), [0, 1])):  # fmt: skip
        plan = plan_steps(options(*arguments), manifest)
        steps = plan.steps_for("a")
        strict = replace(manifest.postprocess, score_threshold=0.6)
        replace(plan, score_threshold=usual_score(options(*arguments), strict)).retune(steps)
        for index in range(3):
            one = result(index, prediction=seen)
            for step in steps:
                one = step.apply(one)
        assert one.prediction.class_ids.tolist() == kept, arguments


def test_every_source_has_steps_of_its_own_in_their_order(tmp_path):
    (tmp_path / "rules.yaml").write_text(RULES)
    plan = plan_steps(
        options("--track", "--classes", "blue", "--rules", str(tmp_path / "rules.yaml")), tiny_manifest("detector")
    )
    one, other = plan.steps_for("a"), plan.steps_for("b")
    assert [type(step) for step in one] == [ClassFilter, Tracker, RuleEngine, EventLog]
    assert not set(map(id, one)) & set(map(id, other))


def test_labels_with_an_equals_sign_and_spaces_can_be_named():
    assert options("--classes", "traffic light=0.5, a=b=0.25").classes == {"traffic light": 0.5, "a=b": 0.25}


def test_errors_of_plans_have_code_2():
    assert UsageError.exit_code == RulesError.exit_code == 2
