"""Bundles of the tiny networks, and pictures for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from edge.conftest import build_bundle
from server.bulk.making import make_photos
from server.bundles import build_batch_bundle

NAMES = tuple(f"{number}.png" for number in range(5))
BundleMaker = Callable[..., Path]


@pytest.fixture
def make_bundle(tmp_path: Path) -> BundleMaker:
    """Builds the bundle of a tiny network: `make_bundle("detector", formats=("tflite", "onnx"))`, or that named `batch`."""

    def make(model: str = "detector", *, formats: Sequence[str] = ("tflite", "onnx")) -> Path:
        folder = tmp_path / f"bundle-{model}"
        if model == "batch":
            return build_batch_bundle(folder)
        return build_bundle(folder, model, formats=formats, golden=False)

    return make


@pytest.fixture
def bundle(make_bundle: BundleMaker) -> Path:
    """The ONNX bundle of the tiny detector."""
    return make_bundle(formats=("onnx",))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of five pictures, `NAMES`."""
    return make_photos(tmp_path / "photos", NAMES)
