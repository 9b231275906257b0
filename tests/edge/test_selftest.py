"""A device that computes wrongly is found out, at the place of the fault, and nobody else is."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cvforge_edge import selftest
from cvforge_edge.backends import BACKENDS, is_installed
from cvforge_edge.backends.table import BUILTIN_SUFFIX
from cvforge_edge.bundle import describe_file, open_bundle
from cvforge_edge.errors import BackendError, BundleError, SelfTestError
from cvforge_edge.golden import GoldenItem, Tolerance, read_golden, write_golden
from cvforge_edge.manifest import read_manifest, write_manifest
from cvforge_edge.match import prediction_problems
from cvforge_edge.preprocess import PreprocessSpec
from cvforge_edge.selftest import run_self_test
from cvforge_edge.types import ClassScores, Detections, SegmentationMap, Task

BundleMaker = Callable[..., Path]
INSTALLED = [name for name, entry in BACKENDS.items() if is_installed(name) and entry.on_processor]
WITH_FALLBACK = [name for name in INSTALLED if name + BUILTIN_SUFFIX in BACKENDS]


@pytest.mark.parametrize("name", INSTALLED)
@pytest.mark.parametrize("model", ["detector", "classifier", "segmenter"])
def test_a_good_device_passes_with_each_runtime(name: str, model: str, make_bundle: BundleMaker) -> None:
    report = run_self_test(open_bundle(make_bundle(model)), backend=name)
    assert (report.backend, report.fell_back, report.items, report.notes) == (name, False, 1, ())
    assert report.model == f"model_fp32.{BACKENDS[name].format}"
    assert report.worst_output_error < 1e-5


def break_backends(monkeypatch: pytest.MonkeyPatch, names: set[str], fault: Callable[[Any], Any]) -> None:
    """Make some backends compute wrongly: `fault` turns right outputs into wrong ones."""
    real = selftest.open_backend

    def open_broken(name: str, path: Path, **options: Any) -> Any:
        backend = real(name, path, **options)
        if name in names:
            right = backend.run
            backend.run = lambda image: fault(right(image))  # type: ignore[method-assign]
        return backend

    monkeypatch.setattr(selftest, "open_backend", open_broken)


def half(outputs: dict[str, Any]) -> dict[str, Any]:
    return {**outputs, "scores": outputs["scores"] * np.float32(0.5)}


@pytest.mark.parametrize("name", WITH_FALLBACK)
def test_wrong_default_kernels_fall_back_to_the_builtin_ones_and_say_so(
    name: str, make_bundle: BundleMaker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    break_backends(monkeypatch, {name}, half)
    with caplog.at_level(logging.WARNING):
        report = run_self_test(open_bundle(make_bundle()), backend=name)
    assert report.backend == f"{name}-builtin" and report.fell_back
    assert report.notes == (
        f"{name} computes wrongly on this processor (image 0: output 'scores' is off by 0.5 of its range, accepted "
        f"0.001, and 3 more); use {name}-builtin here, slower but right",
    )
    assert report.notes[0] in caplog.text


@pytest.mark.parametrize("name", WITH_FALLBACK)
def test_a_device_where_both_kernels_are_wrong_is_refused(
    name: str, make_bundle: BundleMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_backends(monkeypatch, {name, f"{name}-builtin"}, half)
    with pytest.raises(SelfTestError) as caught:
        run_self_test(open_bundle(make_bundle()), backend=name)
    message = str(caught.value)
    assert "does not reproduce the golden vectors of model_fp32.tflite" in message
    assert f"backend {name}: image 0: output 'scores' is off by 0.5 of its range, accepted 0.001" in message
    assert f"backend {name}-builtin: image 0" in message
    assert "2 of 2 detections missing, first: class 0, score 1.000, box (32.0, 16.0, 48.0, 32.0)" in message
    assert SelfTestError.exit_code == 9


@pytest.mark.skipif(not is_installed("onnxruntime"), reason="onnxruntime is not installed")
@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (half, "output 'scores' is off by 0.5 of its range"),
        (lambda o: {**o, "boxes": o["boxes"] + 2}, r"output 'boxes' is off by 0\.042 of its range"),
        (lambda o: {**o, "scores": o["scores"] * np.nan}, "scores: found NaN|output 'scores' is off by inf"),
        (lambda o: {**o, "scores": o["scores"][:, :, :1]}, "2 labels but output 'scores' has 1 classes"),
        (lambda o: {"boxes": o["boxes"]}, "the model has no output scores"),
    ],
)
def test_each_fault_of_a_runtime_without_fallback_is_reported(
    fault: Callable[[Any], Any], words: str, make_bundle: BundleMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_backends(monkeypatch, {"onnxruntime"}, fault)
    with pytest.raises(SelfTestError, match=words):
        run_self_test(open_bundle(make_bundle()), backend="onnxruntime")


def test_an_image_library_that_prepares_otherwise_is_found_out(
    make_bundle: BundleMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = open_bundle(make_bundle())
    real = PreprocessSpec.apply

    def brighter(spec: PreprocessSpec, image_bgr: np.ndarray) -> Any:
        prepared, geometry = real(spec, image_bgr)
        return np.minimum(prepared, 252) + np.uint8(3), geometry

    monkeypatch.setattr(PreprocessSpec, "apply", brighter)
    with pytest.raises(SelfTestError, match="prepared image differs by 3 grey levels, accepted 1"):
        run_self_test(bundle)


def test_a_bundle_without_golden_vectors_is_refused(make_bundle: BundleMaker) -> None:
    with pytest.raises(BundleError, match=r"golden\.json: not found; this bundle has no golden vectors"):
        run_self_test(open_bundle(make_bundle(golden=False)))


def test_a_precision_without_tolerance_is_refused(make_bundle: BundleMaker) -> None:
    folder = make_bundle()
    path = folder / "golden" / "golden.json"
    path.write_text(path.read_text().replace('"fp32"', '"fp16"'))
    manifest = read_manifest(folder)
    files = [f if f.path != "golden/golden.json" else describe_file(folder, f.path) for f in manifest.files]
    write_manifest(replace(manifest, files=tuple(files)), folder)
    with pytest.raises(BundleError, match="no tolerance for fp32 in the golden vectors; found fp16"):
        run_self_test(open_bundle(folder))


def test_an_unknown_backend_is_refused(make_bundle: BundleMaker) -> None:
    with pytest.raises(BackendError, match="found 'tpu', accepted"):
        run_self_test(open_bundle(make_bundle()), backend="tpu")


def item(prediction: Detections | None = None) -> GoldenItem:
    prediction = found([[0, 0, 9, 9]], [0.5], [0]) if prediction is None else prediction
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    outputs = {"boxes": np.ones((2, 4), np.float32), "scores": np.full((2, 1), 0.25, np.float32)}
    return GoldenItem(image, image[:16, :16].copy(), outputs, prediction)


def found(boxes: object, scores: object, class_ids: object) -> Detections:
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4), np.array(scores, np.float32), np.array(class_ids, np.int64)
    )


def test_golden_vectors_read_back_equal_and_their_bytes_are_deterministic(tmp_path: Path) -> None:
    tolerances = {"fp32": Tolerance(embedding=0.5), "int8": Tolerance(output_max=0.2, unmatched=0.1)}
    for name in ("a", "b"):
        names = write_golden(tmp_path / name, [item(), item(Detections.empty())], tolerances)
    assert names == ["00.png", "00.npz", "01.png", "01.npz", "golden.json"]
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    golden = read_golden(tmp_path / "a", task=Task.DETECTION)
    assert golden.tolerances == tolerances and len(golden.items) == 2
    np.testing.assert_array_equal(golden.items[0].image_bgr, item().image_bgr)
    np.testing.assert_array_equal(golden.items[0].input_u8, item().input_u8)
    np.testing.assert_array_equal(golden.items[0].outputs["scores"], item().outputs["scores"])
    assert golden.items[0].prediction.boxes_xyxy.tolist() == [[0, 0, 9, 9]]
    assert len(golden.items[1].prediction) == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"schema_version": 2}, "schema_version: found 2, accepted 1"),
        ({"items": []}, "items: expected at least one"),
        ({"items": [{"image": "../x.png", "arrays": "00.npz"}]}, r"items\[0\].image: found '../x.png'"),
        ({"tolerances": {"fp33": {}}}, "tolerances.fp33: unknown key, did you mean fp32"),
        ({"tolerances": {"fp32": {"score": 1}}}, "tolerances.fp32.box_iou: missing"),
        (
            {"tolerances": {"fp32": {**vars(Tolerance()), "embedding": 2}}},
            "embedding: found 2.0, accepted numbers in 0..1",
        ),
        ({"tolerances": {"fp32": vars(Tolerance())}}, "tolerances.fp32.embedding: found null, expected a number"),
        ({"extra": 1}, "extra: unknown key"),
    ],
)
def test_a_wrong_golden_json_is_refused(tmp_path: Path, change: dict, words: str) -> None:
    write_golden(tmp_path / "g", [item()], {"fp32": Tolerance()})
    path = tmp_path / "g" / "golden.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(BundleError, match=words):
        read_golden(tmp_path / "g", task=Task.DETECTION)


def test_arrays_that_are_damaged_pickled_or_of_another_task_are_refused(tmp_path: Path) -> None:
    write_golden(tmp_path / "g", [item()], {"fp32": Tolerance()})
    with pytest.raises(BundleError, match="no golden vector of task 'segmentation'"):
        read_golden(tmp_path / "g", task=Task.SEGMENTATION)
    np.savez(tmp_path / "g" / "00.npz", input=np.array([{"code": 1}], dtype=object))
    with pytest.raises(BundleError, match="no golden vector"):
        read_golden(tmp_path / "g", task=Task.DETECTION)
    (tmp_path / "g" / "00.npz").write_bytes(b"PK damaged")
    with pytest.raises(BundleError, match="no golden vector"):
        read_golden(tmp_path / "g", task=Task.DETECTION)


def test_nothing_to_write_is_refused(tmp_path: Path) -> None:
    for items, tolerances in (([], {"fp32": Tolerance()}), ([item()], {}), ([item()], {"fp64": Tolerance()})):
        with pytest.raises(ValueError, match="expected at least one item and one tolerance, for fp32, fp16, int8"):
            write_golden(tmp_path / "g", items, tolerances)
    assert not (tmp_path / "g").exists()


def test_a_tolerance_outside_its_range_is_refused() -> None:
    with pytest.raises(ValueError, match=r"input_steps: found 256, accepted numbers in 0..255; score: found -1"):
        Tolerance(input_steps=256, score=-1)


SURE = found([[0, 0, 10, 10], [20, 20, 40, 40]], [0.9, 0.8], [0, 1])


@pytest.mark.parametrize(
    ("device", "words"),
    [
        (SURE, []),
        (found([[20, 20, 40, 40.5], [0, 0, 10, 10]], [0.804, 0.896], [1, 0]), []),
        (found([[0, 0, 10, 10]], [0.9], [0]), ["1 of 2 detections missing, first: class 1"]),
        (found([[0, 0, 10, 10], [20, 20, 40, 40]], [0.9, 0.8], [0, 0]), ["1 of 2 detections missing", "not expected"]),
        (found([[0, 0, 10, 10], [24, 20, 44, 40]], [0.9, 0.8], [0, 1]), ["1 of 2 detections missing", "not expected"]),
        (found([[0, 0, 10, 10], [20, 20, 40, 40]], [0.9, 0.78], [0, 1]), ["1 of 2 detections missing", "not expected"]),
        (found([[0, 0, 10, 10], [20, 20, 40, 40], [1, 1, 3, 3]], [0.9, 0.8, 0.304], [0, 1, 1]), []),
        (
            found([[0, 0, 10, 10], [20, 20, 40, 40], [1, 1, 3, 3]], [0.9, 0.8, 0.4], [0, 1, 1]),
            ["1 of 3 detections not"],
        ),
        (ClassScores(np.ones(2, np.float32)), ["prediction is ClassScores, expected Detections"]),
    ],
)
def test_detections_match_by_class_score_and_place(device: Any, words: list[str]) -> None:
    problems = prediction_problems(device, SURE, Tolerance(), score_threshold=0.3)
    assert len(problems) == len(words)
    for problem, word in zip(problems, words, strict=True):
        assert word in problem


def test_a_fraction_of_detections_may_lack_a_partner_where_that_is_accepted() -> None:
    one_missing = found([[0, 0, 10, 10]], [0.9], [0])
    assert prediction_problems(one_missing, SURE, Tolerance(unmatched=0.5), score_threshold=0.3) == []
    assert len(prediction_problems(one_missing, SURE, Tolerance(unmatched=0.49), score_threshold=0.3)) == 1


def test_probabilities_match_within_the_score_tolerance() -> None:
    expected = ClassScores(np.array([0.6, 0.4], np.float32))
    near, far = ClassScores(np.array([0.603, 0.397], np.float32)), ClassScores(np.array([0.4, 0.6], np.float32))
    assert prediction_problems(near, expected, Tolerance(), score_threshold=0) == []
    problems = prediction_problems(far, expected, Tolerance(), score_threshold=0)
    assert problems == ["class 0 has probability 0.4000, expected 0.6000 within 0.005"]
    longer = ClassScores(np.zeros(3, np.float32))
    assert prediction_problems(longer, expected, Tolerance(), score_threshold=0) == ["3 classes, expected 2"]


def test_class_maps_match_but_for_an_accepted_share_of_pixels() -> None:
    expected, other = np.zeros((10, 10), np.uint8), np.zeros((10, 10), np.uint8)
    other[0, :3] = 1
    maps = SegmentationMap(other), SegmentationMap(expected)
    assert prediction_problems(*maps, Tolerance(unmatched=0.03), score_threshold=0) == []
    problems = prediction_problems(*maps, Tolerance(unmatched=0.02), score_threshold=0)
    assert problems == ["3.00% of the pixels have another class, accepted 2.00%"]
