"""One contract for every backend whose runtime is installed, and clear words where one is not."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from cvforge_edge.backends import BACKENDS, choose_backend, is_installed, open_backend, table
from cvforge_edge.backends.onnx_runtime import NO_TELEMETRY, load_onnxruntime
from cvforge_edge.errors import BackendError
from edge.conftest import build_bundle

MODELS = Path(__file__).parent / "models"
EDGE = Path(table.__file__).parents[2]
INSTALLED = [name for name, entry in BACKENDS.items() if is_installed(name) and entry.on_processor]


def model_of(name: str, model: str = "detector") -> Path:
    return MODELS / f"{model}.{BACKENDS[name].format}"


def redness_score(image: np.ndarray) -> np.ndarray:
    """What the detector must say for class 0: see models/make_models.py."""
    rgb = image[0].astype(np.float64) / 255
    redness = rgb[..., 0] - rgb[..., 1:].max(axis=-1)
    return 1 / (1 + np.exp(10 - 20 * redness.reshape(4, 8, 6, 8).mean(axis=(1, 3)).reshape(-1)))


@pytest.mark.parametrize("name", INSTALLED)
def test_a_backend_computes_the_network_and_names_its_outputs(name: str) -> None:
    image = np.random.default_rng(0).integers(0, 256, (1, 32, 48, 3), dtype=np.uint8)
    backend = open_backend(name, model_of(name))
    outputs = backend.run(image)
    assert {role: array.shape for role, array in outputs.items()} == {"boxes": (1, 24, 4), "scores": (1, 24, 2)}
    assert outputs["boxes"][0, 7].tolist() == [8, 8, 16, 16]
    np.testing.assert_allclose(outputs["scores"][0, :, 0], redness_score(image), atol=1e-5)
    backend.close()


@pytest.mark.parametrize("name", INSTALLED)
def test_outputs_belong_to_the_caller(name: str) -> None:
    backend = open_backend(name, model_of(name))
    red = np.zeros((1, 32, 48, 3), np.uint8)
    red[..., 0] = 255
    first = backend.run(red)["scores"]
    kept = first.copy()
    backend.run(np.zeros_like(red))
    np.testing.assert_array_equal(first, kept)
    assert kept[0, 0, 0] > 0.99


@pytest.mark.parametrize("name", INSTALLED)
@pytest.mark.parametrize("threads", [1, 2])
def test_any_number_of_threads_gives_the_same_answer(name: str, threads: int) -> None:
    image = np.random.default_rng(1).integers(0, 256, (1, 32, 48, 3), dtype=np.uint8)
    found = open_backend(name, model_of(name), threads=threads).run(image)["scores"]
    np.testing.assert_allclose(found[0, :, 0], redness_score(image), atol=1e-5)


@pytest.mark.parametrize("name", INSTALLED)
@pytest.mark.parametrize(
    "image", [np.zeros((1, 32, 32, 3), np.uint8), np.zeros((1, 32, 48, 3), np.float32), np.zeros((32, 48, 3), np.uint8)]
)
def test_an_input_of_another_shape_or_type_is_refused(name: str, image: np.ndarray) -> None:
    with pytest.raises(BackendError, match=r"found an input .* expected \(1, 32, 48, 3\) uint8"):
        open_backend(name, model_of(name)).run(image)


@pytest.mark.parametrize("name", INSTALLED)
def test_a_damaged_model_file_is_an_error_and_not_a_crash(name: str, tmp_path: Path) -> None:
    contents = [b"", b"not a model", model_of(name).read_bytes()[:1000]]
    if BACKENDS[name].runtime == "tflite_runtime":
        contents.pop()  # it dies of a truncated file; a bundle's checksums keep one away from it
    for content in contents:
        path = tmp_path / f"model.{BACKENDS[name].format}"
        path.write_bytes(content)
        with pytest.raises(BackendError, match="cannot load this model"):
            open_backend(name, path)


def test_a_model_whose_input_is_not_an_image_is_refused(shared_data: Path) -> None:
    weights = shared_data / "weights"
    if is_installed("litert"):
        with pytest.raises(
            BackendError, match=r"found inputs .* int8, expected one \(1, height, width, 3\) uint8|signatur"
        ):
            open_backend("litert", weights / "mlperf-tiny-resnet8-cifar10" / "pretrainedResnet_quant.tflite")
    if is_installed("onnxruntime"):
        with pytest.raises(BackendError, match=r"found inputs .* expected one \(1, height, width, 3\) uint8"):
            open_backend("onnxruntime", weights / "fastestdet" / "FastestDet.onnx")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"name": "tensorrt"}, "backend: found 'tensorrt', accepted litert, litert-builtin"),
        ({"name": "litert", "threads": 0}, "threads: found 0"),
        ({"name": "litert", "threads": True}, "threads: found True"),
        ({"name": "litert", "allow_spinning": True}, "allow_spinning: an option of onnxruntime only"),
    ],
)
def test_wrong_arguments_are_named(arguments: dict, words: str) -> None:
    with pytest.raises(BackendError, match=words):
        open_backend(**{"path": MODELS / "detector.tflite", **arguments})


def test_a_missing_model_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match="no such model file"):
        open_backend(INSTALLED[0], tmp_path / "model.tflite")


def test_onnxruntime_may_spin_where_that_is_asked_for() -> None:
    if not is_installed("onnxruntime"):
        pytest.skip("onnxruntime is not installed")
    backend = open_backend("onnxruntime", MODELS / "detector.onnx", threads=2, allow_spinning=True)
    assert set(backend.run(np.zeros((1, 32, 48, 3), np.uint8))) == {"boxes", "scores"}


@pytest.mark.parametrize(
    ("name", "requirement"),
    [("litert", "ai-edge-litert"), ("onnxruntime", "onnxruntime"), ("tflite-runtime", "tflite-runtime 'numpy<2'")],
)
def test_a_missing_runtime_says_what_to_install(name: str, requirement: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "find_spec", lambda module: None)
    with pytest.raises(BackendError, match=f"not installed; install it with: pip install {requirement}"):
        open_backend(name, MODELS / "detector.tflite")
    assert BackendError.exit_code == 11


def only(monkeypatch: pytest.MonkeyPatch, *modules: str) -> None:
    monkeypatch.setattr(table, "find_spec", lambda module: module if module in modules else None)


def test_the_preferred_installed_runtime_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, "ai_edge_litert", "tflite_runtime", "onnxruntime")
    assert choose_backend(["onnx", "tflite"]) == "litert"
    assert choose_backend(["onnx"]) == "onnxruntime"
    only(monkeypatch, "tflite_runtime", "onnxruntime")
    assert choose_backend(["onnx", "tflite"]) == "tflite-runtime"
    only(monkeypatch, "onnxruntime")
    assert choose_backend(["onnx", "tflite"]) == "onnxruntime"
    with pytest.raises(
        BackendError, match="no runtime for tflite models is installed; install it with: pip install ai-"
    ):
        choose_backend(["tflite"])


def test_importing_the_package_loads_no_runtime_and_no_training_library() -> None:
    """Every module of the package, in a fresh interpreter."""
    code = """
import importlib, pkgutil, sys
import cvforge_edge
for module in pkgutil.walk_packages(cvforge_edge.__path__, "cvforge_edge."):
    importlib.import_module(module.name)
print(sorted(set(m.partition(".")[0] for m in sys.modules)))
"""
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={"PYTHONPATH": str(EDGE)}, check=True
    )
    for name in ("torch", "onnxruntime", "ai_edge_litert", "tflite_runtime", "tensorflow", "cvforge", "hydra"):
        assert f"'{name}'" not in result.stdout
    assert "'cvforge_edge'" in result.stdout and "'cv2'" in result.stdout


@pytest.mark.skipif(find_spec("ai_edge_litert") is None, reason="ai-edge-litert is not installed")
def test_a_runtime_that_fails_to_import_is_reported_with_numpys_version(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    package = tmp_path / "tflite_runtime"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "interpreter.py").write_text("raise ImportError('_ARRAY_API not found')")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(
        BackendError, match=rf"tflite_runtime cannot be imported with numpy {np.__version__}.*_ARRAY_API"
    ):
        open_backend("tflite-runtime", MODELS / "detector.tflite")


@pytest.mark.skipif(find_spec("onnxruntime") is None, reason="onnxruntime is not installed")
@pytest.mark.parametrize("home", ["home", "/dev/null"])
def test_onnxruntime_leaves_nothing_in_the_users_folder_and_needs_none(home: str, tmp_path: Path):
    """Its makers' builds for Linux otherwise keep an identifier and reports there, from 1.29 on."""
    bundle = build_bundle(tmp_path / "b", "detector", formats=("onnx",), golden=False)
    kept = {name: text for name, text in os.environ.items() if name not in ("CI", NO_TELEMETRY, "XDG_CACHE_HOME")}
    environment = {**kept, "HOME": str(tmp_path / home), "PYTHONPATH": os.pathsep.join(sys.path)}
    (tmp_path / "home").mkdir()
    code = (
        "import sys, numpy\n"
        "from cvforge_edge.predictor import Predictor\n"
        "with Predictor.from_bundle(sys.argv[1], backend='onnxruntime') as predictor:\n"
        "    predictor.predict(numpy.zeros((40, 50, 3), numpy.uint8))\n"
    )
    command = [sys.executable, "-c", code, str(bundle)]
    subprocess.run(command, env=environment, cwd=tmp_path / "home", check=True, timeout=300)
    assert list((tmp_path / "home").rglob("*")) == []


@pytest.mark.skipif(find_spec("onnxruntime") is None, reason="onnxruntime is not installed")
def test_whoever_wants_onnxruntime_to_report_is_heard(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(NO_TELEMETRY, "0")
    load_onnxruntime()
    assert os.environ[NO_TELEMETRY] == "0"
    monkeypatch.delenv(NO_TELEMETRY)
    load_onnxruntime()
    assert os.environ[NO_TELEMETRY] == "1"
