"""Bundles around the tiny networks of `models/`, whose answers can be worked out by hand."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cvforge_edge.backends import BACKENDS, choose_backend, open_backend
from cvforge_edge.bundle import describe_file, describe_model
from cvforge_edge.golden import GOLDEN_FOLDER, GoldenItem, Tolerance, write_golden
from cvforge_edge.manifest import Manifest, write_manifest
from cvforge_edge.postprocess import PostprocessSpec, postprocess
from cvforge_edge.predictor import Predictor
from cvforge_edge.preprocess import PreprocessSpec
from cvforge_edge.types import Task

MODELS = Path(__file__).parent / "models"
TINY_MODELS = {
    "detector": (Task.DETECTION, ("red", "blue"), PostprocessSpec("detection_nms")),
    "classifier": (Task.CLASSIFICATION, ("red", "blue", "neither"), PostprocessSpec("classification_probs")),
    "segmenter": (Task.SEGMENTATION, ("background", "red", "blue"), PostprocessSpec("segmentation_logits")),
}
BundleMaker = Callable[..., Path]


@pytest.fixture
def colours_bgr() -> np.ndarray:
    """`two_squares`."""
    return two_squares()


def two_squares() -> np.ndarray:
    """A black image of 64 x 96 pixels with a red square at (32, 16, 48, 32) and a blue one at (80, 48, 96, 64)."""
    image = np.zeros((64, 96, 3), np.uint8)
    image[16:32, 32:48] = (0, 0, 255)
    image[48:64, 80:96] = (255, 0, 0)
    return image


def tiny_manifest(model: str) -> Manifest:
    """The manifest of one of the tiny networks, without files."""
    task, labels, spec = TINY_MODELS[model]
    return Manifest(
        name=f"tiny-{model}",
        version=1,
        task=task,
        labels=labels,
        preprocess=PreprocessSpec((32, 48)),
        outputs={role: role for role in spec.roles},
        postprocess=spec,
    )


@pytest.fixture
def manifest_of() -> Callable[[str], Manifest]:
    """Gives the manifest of a tiny network by its name."""
    return tiny_manifest


@pytest.fixture
def make_bundle(tmp_path: Path) -> BundleMaker:
    """Builds the bundle of a tiny network: `make_bundle("detector", formats=("tflite", "onnx"), golden=True)`."""

    def make(model: str = "detector", *, formats: Sequence[str] = ("tflite", "onnx"), golden: bool = True) -> Path:
        return build_bundle(tmp_path / f"bundle-{model}", model, formats=formats, golden=golden)

    return make


@pytest.fixture(scope="module")
def module_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ONNX bundle of the tiny detector, shared by the tests of a file; they copy what they change."""
    return build_bundle(tmp_path_factory.mktemp("bundles") / "bundle", "detector", formats=("onnx",), golden=True)


def build_bundle(folder: Path, model: str, *, formats: Sequence[str], golden: bool) -> Path:
    """Write the bundle of a tiny network into a new folder."""
    folder.mkdir()
    manifest = tiny_manifest(model)
    files = []
    for form in formats:
        shutil.copy(MODELS / f"{model}.{form}", folder / f"model_fp32.{form}")
        files.append(describe_model(folder, f"model_fp32.{form}", format=form, precision="fp32"))
    if golden:
        backend = choose_backend(formats)
        model_path = folder / f"model_fp32.{BACKENDS[backend].format}"
        item = golden_item(Predictor(open_backend(backend, model_path), manifest), two_squares())
        names = write_golden(folder / GOLDEN_FOLDER, [item], {"fp32": Tolerance()})
        files += [describe_file(folder, f"{GOLDEN_FOLDER}/{name}") for name in names]
    write_manifest(replace(manifest, files=tuple(files)), folder)
    return folder


def golden_item(predictor: Predictor, image_bgr: np.ndarray) -> GoldenItem:
    """What a predictor makes of an image, as a golden vector."""
    input_u8, geometry = predictor.manifest.preprocess.apply(image_bgr)
    outputs = predictor.raw_outputs(input_u8)
    return GoldenItem(image_bgr, input_u8, outputs, postprocess(outputs, predictor.manifest.postprocess, geometry))
