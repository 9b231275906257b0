"""A manifest says everything, the same way each time, and refuses what does not fit, all at once."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cvforge_edge.errors import BundleError, SpecError
from cvforge_edge.interval import ScoreInterval
from cvforge_edge.manifest import (
    BundleFile,
    Manifest,
    MetricEntry,
    ModelFile,
    read_manifest,
    write_manifest,
)
from cvforge_edge.postprocess import PostprocessSpec
from cvforge_edge.preprocess import PreprocessSpec
from cvforge_edge.types import Task

DIGEST = "0123456789abcdef" * 4
INTERVAL = ScoreInterval(low=0.45, high=0.55, level=0.95)


def manifest() -> Manifest:
    return Manifest(
        name="blood-cells",
        version=3,
        task=Task.DETECTION,
        labels=("RBC", "WBC", "Platelets"),
        preprocess=PreprocessSpec((240, 320), interpolation="area"),
        outputs={"boxes": "boxes", "scores": "scores"},
        postprocess=PostprocessSpec("detection_nms", score_threshold=0.25),
        files=(
            ModelFile("model_fp32.tflite", "tflite", "fp32", DIGEST, 1000),
            BundleFile("golden/00.png", DIGEST, 20),
        ),
        metrics=(
            MetricEntry("checkpoint", "val", "map", {"map": 0.5, "map50": 0.75}, "f" * 8, "run-1"),
            MetricEntry("model_fp32.tflite", "val", "map", {"map": 0.4999, "map50": 0.75}, "f" * 8, "run-1", INTERVAL),
        ),
        reference_statistics={"mean_brightness": 0.4},
        provenance={"git_commit": "abc", "versions": {"torch": "2.12.0"}},
    )


def document() -> dict[str, Any]:
    return json.loads(manifest().to_json())


def refused(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    with pytest.raises(BundleError) as caught:
        Manifest.from_json(text, where="some/manifest.json")
    assert str(caught.value).startswith("some/manifest.json")
    return str(caught.value)


def test_a_manifest_reads_back_equal_and_its_text_is_deterministic() -> None:
    text = manifest().to_json()
    again = Manifest.from_json(text, where="x")
    assert again == manifest()
    assert again.to_json() == text
    shuffled = dict(reversed(json.loads(text).items()))
    assert Manifest.from_json(json.dumps(shuffled), where="x").to_json() == text


def test_the_text_is_sorted_indented_by_two_and_ends_with_a_newline() -> None:
    text = manifest().to_json()
    assert text.startswith('{\n  "files": [\n    {\n') and text.endswith("}\n") and not text.endswith("\n\n")
    keys = list(json.loads(text))
    assert keys == sorted(keys)


def test_labels_outside_ascii_are_written_as_they_are(tmp_path: Path) -> None:
    cats = replace(manifest(), labels=("猫", "Käfer", "x"))
    path = write_manifest(cats, tmp_path)
    assert "猫" in path.read_text(encoding="utf-8")
    assert read_manifest(tmp_path) == cats
    assert [file.name for file in tmp_path.iterdir()] == ["manifest.json"]


def test_models_are_the_model_files_in_order() -> None:
    assert [model.path for model in manifest().models] == ["model_fp32.tflite"]


@pytest.mark.parametrize("key", sorted(document()))
def test_every_key_is_needed(key: str) -> None:
    value = document()
    del value[key]
    assert f"{key}: missing" in refused(value)


WRONG_TYPES = [
    (key, wrong)
    for key in sorted(document())
    for wrong in (None, True, 3.5, "text", [1], {"a": 1})
    if not (key == "name" and wrong == "text")
    and not (key in ("reference_statistics", "provenance") and wrong == {"a": 1})
]


@pytest.mark.parametrize(("key", "wrong"), WRONG_TYPES)
def test_every_key_refuses_another_type(key: str, wrong: Any) -> None:
    value = document()
    value[key] = wrong
    assert key in refused(value)


def test_an_unknown_key_is_refused_with_the_near_miss() -> None:
    value = document()
    value["preprocess"]["pad_valu"] = 3
    value["licence"] = "MIT"
    message = refused(value)
    assert "preprocess.pad_valu: unknown key, did you mean pad_value?" in message
    assert "licence: unknown key; accepted" in message


def test_all_problems_are_reported_at_once() -> None:
    value = document()
    value["name"] = "../x"
    value["labels"] = ["RBC", "RBC", ""]
    value["preprocess"]["resize"] = "fit"
    value["preprocess"]["size_hw"] = [240, "320"]
    value["outputs"] = {"boxes": "boxes"}
    value["postprocess"]["score_threshold"] = 7
    value["files"][0]["sha256"] = "XYZ"
    value["files"][1]["path"] = "/etc/passwd"
    value["metrics"][1]["primary"] = "miou"
    value["version"] = 0
    message = refused(value)
    expected = [
        "name: found '../x'",
        "labels[1]: 'RBC' is already labels[0]",
        "labels[2]: found ''",
        'preprocess.resize: found "fit", expected one of letterbox, stretch, center_crop',
        'preprocess.size_hw[1]: found "320", expected a whole number',
        "postprocess.score_threshold: found 7.0, accepted a number in 0..1",
        "files[0].sha256: found 'XYZ'",
        "files[1].path: found '/etc/passwd'",
        "metrics[1].primary: found 'miou', accepted one of map, map50",
        "version: found 0, expected a whole number of at least 1",
    ]
    for words in expected:
        assert words in message
    assert f"{len(expected)} problems" in message


def test_what_does_not_fit_together_is_refused() -> None:
    value = document()
    value["task"] = "segmentation"
    value["outputs"] = {"boxes": "a", "logits": "a"}
    value["metrics"][0]["subject"] = "model.onnx"
    value["files"].append(value["files"][0])
    message = refused(value)
    assert "postprocess.kind: 'detection_nms' belongs to task 'detection', but task is 'segmentation'" in message
    assert (
        "outputs: found roles boxes, logits, but kind 'detection_nms' needs exactly boxes, scores, and may have embedding"
        in message
    )
    assert "outputs: found tensor names ['a', 'a']" in message
    assert "files: model_fp32.tflite is listed 2 times" in message
    assert "metrics[0].subject: found 'model.onnx', accepted checkpoint, model_fp32.tflite" in message


def test_any_kind_may_have_an_embedding_beside_its_own_outputs_but_not_in_place_of_one() -> None:
    value = document()
    value["outputs"]["embedding"] = "features"
    made = Manifest.from_json(json.dumps(value), where="x")
    assert made.outputs["embedding"] == "features"
    assert Manifest.from_json(made.to_json(), where="x") == made
    value["outputs"] = {"boxes": "boxes", "embedding": "features"}
    assert "found roles boxes, embedding, but kind 'detection_nms' needs exactly boxes, scores" in refused(value)
    value["outputs"] = {"boxes": "boxes", "scores": "scores", "embedding": "boxes"}
    assert "accepted one name of its own for each role" in refused(value)


def test_the_same_checks_hold_for_a_manifest_made_in_code() -> None:
    with pytest.raises(BundleError, match=r"(?s)2 problems.*version: found 0.*roles boxes, but kind"):
        replace(manifest(), version=0, outputs={"boxes": "boxes"})
    with pytest.raises(BundleError, match="schema_version"):
        replace(manifest(), schema_version=2)


@pytest.mark.parametrize(
    "path",
    ["", "/a", "../a", "a/../b", "a//b", "./a", "a/.", "a/", "a\\b", "C:a", "manifest.json", "a\nb", ".", ".."],
)
def test_a_path_stays_inside_the_bundle(path: str) -> None:
    with pytest.raises(SpecError, match="path: found"):
        BundleFile(path, DIGEST, 1)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": "pb"}, "format: found 'pb', accepted tflite, onnx"),
        ({"precision": "fp8"}, "precision: found 'fp8', accepted fp32, fp16, int8"),
        ({"sha256": DIGEST.upper()}, "sha256: found"),
        ({"size_bytes": -1}, "size_bytes: found -1"),
        ({"size_bytes": True}, "size_bytes: found True"),
    ],
)
def test_a_model_file_is_checked_when_made(change: dict[str, Any], words: str) -> None:
    with pytest.raises(SpecError, match=words):
        replace(manifest().models[0], **change)


def test_a_model_needs_both_format_and_precision() -> None:
    value = document()
    del value["files"][0]["precision"]
    assert "files[0].precision: missing" in refused(value)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999"])
def test_numbers_that_json_does_not_have_are_refused(number: str) -> None:
    text = manifest().to_json().replace("0.4999", number)
    assert number in refused(text)


def test_nan_is_never_written() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        replace(manifest(), reference_statistics={"a": float("nan")}).to_json()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "Expecting value"),
        ("{", "Expecting property name"),
        ("[]", "top level: found [], expected an object"),
        ('{"name": "a", "name": "b"}', "key 'name' is given twice"),
        ("[" * 100_000, "nested too deep"),
        ("[" * 40 + "]" * 40, "nested deeper than 32 levels"),
        ("9" * 5000, "not a manifest"),
    ],
)
def test_what_is_no_manifest_is_refused_without_a_traceback(text: str, words: str) -> None:
    assert words in refused(text)


@pytest.mark.parametrize(("version", "step"), [(2, "update the device runtime"), (0, "export the bundle again")])
def test_another_schema_version_is_the_only_thing_reported(version: int, step: str) -> None:
    message = refused({"schema_version": version, "something": "else"})
    assert f"schema_version: found {version}, accepted 1; {step}" in message
    assert "something" not in message


def test_reading_names_what_is_missing_or_unreadable(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"manifest\.json: not found; give the folder of a bundle"):
        read_manifest(tmp_path)
    (tmp_path / "manifest.json").write_bytes(b"\xff\xfe{")
    with pytest.raises(BundleError, match="cannot be read as UTF-8"):
        read_manifest(tmp_path)
    with pytest.raises(
        BundleError, match=r"manifest\.json: found a file; give the folder of a bundle, which holds a mani"
    ):
        read_manifest(tmp_path / "manifest.json")
    with (tmp_path / "manifest.json").open("wb") as file:
        file.truncate(17 * 1024 * 1024)
    with pytest.raises(BundleError, match="larger than 16777216 bytes"):
        read_manifest(tmp_path)


def test_an_empty_name_is_refused() -> None:
    value = document()
    value["name"] = ""
    assert "name: found ''" in refused(value)


def test_an_interval_is_written_only_where_there_is_one_and_older_manifests_stay_readable() -> None:
    first, second = document()["metrics"]
    assert "interval" not in first
    assert second["interval"] == {"low": 0.45, "high": 0.55, "level": 0.95}
    value = document()
    del value["metrics"][1]["interval"]
    assert [entry.interval for entry in Manifest.from_json(json.dumps(value), where="x").metrics] == [None, None]


@pytest.mark.parametrize(
    ("interval", "words"),
    [
        (None, "metrics[1].interval: found null, expected an object"),
        ([0.1, 0.2], "metrics[1].interval: found [0.1, 0.2], expected an object"),
        ({"low": 0.1, "high": 0.2}, "metrics[1].interval.level: missing, expected a number"),
        ({"low": "0.1", "high": 0.2, "level": 0.95}, 'metrics[1].interval.low: found "0.1", expected a number'),
        ({"low": 0.3, "high": 0.2, "level": 0.95}, "metrics[1].interval.low: found 0.3 with high 0.2"),
        (
            {"low": 0.1, "high": 0.2, "level": 95},
            "metrics[1].interval.level: found 95.0, accepted a number inside 0..1",
        ),
        ({"low": 0.1, "high": 0.2, "level": 0.9, "method": "x"}, "metrics[1].interval.method: unknown key"),
    ],
)
def test_an_interval_that_cannot_be_is_refused(interval: Any, words: str) -> None:
    value = document()
    value["metrics"][1]["interval"] = interval
    assert words in refused(value)


def test_whole_numbers_that_fit_into_no_float_are_refused() -> None:
    assert "too large for a number" in refused(manifest().to_json().replace("0.4999", "9" * 400))


SERVED = ModelFile("model_fp32_batch.onnx", "onnx", "fp32", DIGEST, 1000, batch=True)


def test_models_for_servers_are_listed_apart_and_read_back() -> None:
    given = replace(manifest(), files=(*manifest().files, SERVED))
    read = Manifest.from_json(given.to_json(), where="m")
    assert read == given
    assert read.batch_models == (SERVED,)
    assert [model.path for model in read.models] == ["model_fp32.tflite"]
    assert given.to_json().count('"batch"') == 1  # other files read as they did before there was such a form


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"batch": 1}, "files[0].batch: found 1, expected true or false"),
        ({"batch": True}, "files[0].batch: found a file of format 'tflite', accepted onnx"),
    ],
)
def test_a_wrong_form_is_named(change: dict[str, Any], words: str) -> None:
    value = document()
    value["files"][0].update(change)
    assert words in refused(value)


def test_a_form_without_format_and_precision_is_no_model() -> None:
    value = document()
    value["files"][1]["batch"] = True
    assert "files[1].format: missing" in refused(value)
