"""From an image to a prediction through each installed runtime, against answers worked out by hand."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cvforge_edge
from cvforge_edge.backends import BACKENDS, is_installed
from cvforge_edge.errors import BackendError, BundleError, SpecError
from cvforge_edge.manifest import Manifest
from cvforge_edge.postprocess import PostprocessSpec
from cvforge_edge.predictor import Predictor
from cvforge_edge.types import ClassScores, Detections, SegmentationMap

BundleMaker = Callable[..., Path]
ManifestOf = Callable[[str], Manifest]
INSTALLED = [name for name, entry in BACKENDS.items() if is_installed(name) and entry.on_processor]
MEMORY_LIMIT_MB = 130


class FixedBackend:
    """A backend that always says the same."""

    def __init__(self, **outputs: np.ndarray) -> None:
        self.outputs: dict[str, Any] = outputs
        self.closed = False

    def run(self, image_u8: np.ndarray) -> dict[str, Any]:
        assert image_u8.shape == (1, 32, 48, 3) and image_u8.dtype == np.uint8
        return self.outputs

    def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize("name", INSTALLED)
def test_each_runtime_finds_the_squares(name: str, make_bundle: BundleMaker, colours_bgr: np.ndarray) -> None:
    with Predictor.from_bundle(make_bundle(), backend=name) as predictor:
        found = predictor.predict(colours_bgr)
    assert isinstance(found, Detections)
    assert found.boxes_xyxy.tolist() == [[32, 16, 48, 32], [80, 48, 96, 64]]
    assert found.class_ids.tolist() == [0, 1]
    np.testing.assert_allclose(found.scores, 1 / (1 + np.exp(-10)), atol=1e-5)


@pytest.mark.parametrize("name", INSTALLED)
def test_each_runtime_classifies(name: str, make_bundle: BundleMaker) -> None:
    red = np.zeros((64, 96, 3), np.uint8)
    red[..., 2] = 255
    found = Predictor.from_bundle(make_bundle("classifier"), backend=name).predict(red)
    assert isinstance(found, ClassScores)
    logits = np.array([4, -4, 1])  # blueness of red is 0 - 1
    np.testing.assert_allclose(found.probs, np.exp(logits) / np.exp(logits).sum(), atol=1e-5)


@pytest.mark.parametrize("name", INSTALLED)
def test_each_runtime_segments(name: str, make_bundle: BundleMaker, colours_bgr: np.ndarray) -> None:
    found = Predictor.from_bundle(make_bundle("segmenter"), backend=name).predict(colours_bgr)
    assert isinstance(found, SegmentationMap) and found.class_map.shape == (64, 96)
    assert (found.class_map[17:31, 33:47] == 1).all() and (found.class_map[49:64, 81:96] == 2).all()
    outside = np.ones((64, 96), bool)
    outside[12:36, 28:52] = outside[44:, 76:] = False
    assert (found.class_map[outside] == 0).all()


def test_without_a_wish_the_preferred_runtime_and_the_makers_first_model_are_taken(make_bundle: BundleMaker) -> None:
    predictor = Predictor.from_bundle(make_bundle())
    tflite = is_installed("litert") or is_installed("tflite-runtime")
    expected = "TfliteBackend" if tflite else "OnnxRuntimeBackend"
    assert type(predictor.backend).__name__ == expected


def test_a_model_that_the_bundle_does_not_have_is_refused_with_what_it_has(make_bundle: BundleMaker) -> None:
    folder = make_bundle(formats=["tflite"], golden=False)
    with pytest.raises(BundleError, match=r"no model int8; the bundle has model_fp32\.tflite \(tflite fp32\)"):
        Predictor.from_bundle(folder, precision="int8")
    with pytest.raises(BundleError, match="no model for backend onnxruntime; the bundle has"):
        Predictor.from_bundle(folder, backend="onnxruntime")
    with pytest.raises(BackendError, match="backend: found 'gpu', accepted litert"):
        Predictor.from_bundle(folder, backend="gpu")


def test_outputs_are_renamed_to_roles_and_lose_the_batch_axis(manifest_of: ManifestOf) -> None:
    manifest = replace(manifest_of("classifier"), outputs={"probs": "tensor_7"})
    backend = FixedBackend(tensor_7=np.array([[0.1, 0.2, 0.7]], np.float32), unused=np.zeros((1, 1)))
    outputs = Predictor(backend, manifest).raw_outputs(np.zeros((32, 48, 3), np.uint8))
    assert {role: array.tolist() for role, array in outputs.items()} == {
        "probs": [pytest.approx(0.1), pytest.approx(0.2), pytest.approx(0.7)]
    }


def test_a_model_that_is_not_the_manifests_is_refused(manifest_of: ManifestOf, colours_bgr: np.ndarray) -> None:
    manifest = manifest_of("classifier")
    with pytest.raises(BackendError, match="tiny-classifier: the model has no output probs; found logits"):
        Predictor(FixedBackend(logits=np.zeros((1, 3), np.float32)), manifest).predict(colours_bgr)
    with pytest.raises(BackendError, match="3 labels but output 'probs' has 4 classes"):
        Predictor(FixedBackend(probs=np.zeros((1, 4), np.float32)), manifest).predict(colours_bgr)


def test_nan_from_a_runtime_is_an_error(manifest_of: ManifestOf, colours_bgr: np.ndarray) -> None:
    backend = FixedBackend(probs=np.full((1, 3), np.nan, np.float32))
    with pytest.raises(SpecError, match="probs: found NaN"):
        Predictor(backend, manifest_of("classifier")).predict(colours_bgr)


def test_other_thresholds_share_the_loaded_model(make_bundle: BundleMaker, colours_bgr: np.ndarray) -> None:
    predictor = Predictor.from_bundle(make_bundle())
    strict = predictor.with_postprocess(PostprocessSpec("detection_nms", max_detections=1))
    assert strict.backend is predictor.backend
    assert len(strict.predict(colours_bgr)) == 1 and len(predictor.predict(colours_bgr)) == 2  # type: ignore[arg-type]


def test_other_thresholds_cannot_change_the_task(make_bundle: BundleMaker) -> None:
    predictor = Predictor.from_bundle(make_bundle())
    with pytest.raises(BundleError, match="belongs to task 'classification'"):
        predictor.with_postprocess(PostprocessSpec("classification_probs"))


def test_leaving_the_block_closes_the_backend(manifest_of: ManifestOf) -> None:
    backend = FixedBackend()
    with Predictor(backend, manifest_of("detector")):
        assert not backend.closed
    assert backend.closed


COLD_START = """
import sys
from cvforge_edge.image_io import read_image
from cvforge_edge.predictor import Predictor
found = Predictor.from_bundle(sys.argv[1], backend="litert").predict(read_image(sys.argv[2]))
# Not getrusage: its peak begins with that of the process that started this one.
peak_kb = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
heavy = {"onnxruntime", "torch", "tensorflow", "scipy", "matplotlib", "multiprocessing", "asyncio"} & set(sys.modules)
print(len(found), peak_kb, *sorted(heavy))
"""


@pytest.mark.skipif(not is_installed("litert"), reason="ai-edge-litert is not installed")
@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="peak memory is read from /proc")
def test_a_cold_start_is_small_and_loads_nothing_that_it_does_not_use(make_bundle: BundleMaker) -> None:
    """From the start of a process to the boxes of one image; its time is measured by benchmarks/cold_start.py."""
    folder = make_bundle()
    count, megabytes, heavy = cold_start(folder, folder / "golden" / "00.png")
    assert count == 2
    assert heavy == []
    assert megabytes <= MEMORY_LIMIT_MB


def cold_start(bundle: Path, image: Path) -> tuple[int, float, list[str]]:
    """Objects found, peak memory in MB, and needless modules of a new process."""
    environment = {"PYTHONPATH": str(Path(cvforge_edge.__file__).parents[1]), "PATH": os.environ.get("PATH", "")}
    result = subprocess.run(
        [sys.executable, "-c", COLD_START, str(bundle), str(image)],
        capture_output=True,
        text=True,
        env=environment,
        check=True,
    )
    count, peak_kb, *heavy = result.stdout.split()
    return int(count), int(peak_kb) / 1024, heavy
