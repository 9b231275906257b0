"""Writers of tiny data sets on disk."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest


def write_image(path: Path, *, size_hw: tuple[int, int] = (40, 60), value: int = 90) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.full((*size_hw, 3), value, np.uint8)
    image[: size_hw[0] // 2, : size_hw[1] // 2] = (200, 30, 10)
    assert cv2.imwrite(str(path), image)
    return path


def write_mask(path: Path, values: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), values)
    return path


class VocWriter:
    """Writes a Pascal VOC data set image by image."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "ImageSets" / "Main").mkdir(parents=True)
        (root / "Annotations").mkdir()

    def add(self, name: str, *objects: tuple[str, tuple], size: str = "<width>60</width><height>40</height>") -> None:
        write_image(self.root / "JPEGImages" / f"{name}.jpg")
        parts = [
            f"<object><name>{label}</name><bndbox><xmin>{box[0]}</xmin><ymin>{box[1]}</ymin>"
            f"<xmax>{box[2]}</xmax><ymax>{box[3]}</ymax></bndbox></object>"
            for label, box in objects
        ]
        text = f"<annotation><size>{size}<depth>3</depth></size>{''.join(parts)}</annotation>"
        (self.root / "Annotations" / f"{name}.xml").write_text(text)

    def split(self, name: str, *ids: str) -> None:
        (self.root / "ImageSets" / "Main" / f"{name}.txt").write_text("".join(f"{image_id}\n" for image_id in ids))


class CocoWriter:
    """Writes a COCO data set; `document` may be spoilt before `save`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.document: dict = {
            "images": [
                {"id": 7, "file_name": "b.jpg", "height": 40, "width": 60},
                {"id": 3, "file_name": "a.jpg", "height": 40, "width": 60},
            ],
            "categories": [{"id": 18, "name": "dog"}, {"id": 2, "name": "bicycle"}, {"id": 90, "name": "toothbrush"}],
            "annotations": [
                {"id": 1, "image_id": 7, "category_id": 90, "bbox": [10, 5, 20, 10], "area": 150.5, "iscrowd": 0},
                {"id": 2, "image_id": 7, "category_id": 2, "bbox": [0, 0, 60, 40], "area": 2400, "iscrowd": 1},
            ],
        }
        for name in ("a.jpg", "b.jpg"):
            write_image(root / "images" / name)

    def save(self) -> None:
        (self.root / "instances.json").write_text(json.dumps(self.document))


@pytest.fixture
def voc(tmp_path: Path) -> VocWriter:
    return VocWriter(tmp_path)


@pytest.fixture
def coco(tmp_path: Path) -> CocoWriter:
    return CocoWriter(tmp_path)


@pytest.fixture
def image_writer():
    return write_image


@pytest.fixture
def mask_writer():
    return write_mask
