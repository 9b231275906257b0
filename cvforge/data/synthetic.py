"""Generated data sets: shapes on cluttered grounds, drawn when they are asked for, the same for the same seed.

The three tasks share one painter (`shapes`, `paint`). Nothing is stored on disk and nothing is downloaded.
"""

from __future__ import annotations

import hashlib
import math

import numpy as np

from cvforge.data.paint import develop, paint_clutter, paint_ground, paint_shape
from cvforge.data.shapes import SHAPES, PlacedShape, object_map, place_shapes
from cvforge.data.types import Sample
from cvforge.errors import DataError
from cvforge_edge.types import ClassLabel, Detections, SegmentationMap, Task

GENERATOR_VERSION = 1
"""Raised whenever the same seed gives other pixels; part of the fingerprint."""
LAYOUT_STREAM, PAINT_STREAM = 0, 1
CLUTTER_RANGE = (3, 9)
EMPTY_SHARE = 0.04
"""Share of detection images without any object."""


class ShapesDetection:
    """Images with up to `max_objects` shapes and their boxes; some images show none.

    Args:
        count: number of images.
        size_hw: height and width of the images, in pixels.
        seed: other seeds give other images; give each split its own.
        max_objects: most objects in an image.
        radius_range: smallest and largest radius, as a fraction of the image's shorter side.

    Raises:
        DataError: a value makes no data set.
    """

    task = Task.DETECTION
    labels = SHAPES

    def __init__(
        self,
        count: int,
        size_hw: tuple[int, int] = (192, 192),
        *,
        seed: int = 0,
        max_objects: int = 6,
        radius_range: tuple[float, float] = (0.07, 0.24),
    ) -> None:
        self.count, self.size_hw, self.seed = _checked(count, size_hw, seed=seed)
        self.max_objects = max_objects
        self.radius_range = (float(radius_range[0]), float(radius_range[1]))

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Sample:
        """One painted image with its boxes."""
        shapes = self.shapes(index)
        image = paint_scene(shapes, self.size_hw, rng=_stream(self.seed, index, PAINT_STREAM))
        return Sample(image, boxes_of(shapes, self.size_hw), self.image_id(index))

    def image_id(self, index: int) -> str:
        """Seed and number of the image."""
        return _image_id(self.seed, index)

    def truth(self, index: int) -> Detections:
        """The boxes of one image, without painting it."""
        return boxes_of(self.shapes(index), self.size_hw)

    def fingerprint(self) -> str:
        """`v1-generator:<sha256>` of the version and arguments of the generator."""
        return _fingerprint(self, self.count, self.size_hw, self.seed, self.max_objects, self.radius_range)

    def shapes(self, index: int) -> list[PlacedShape]:
        """The objects of one image, lowest first."""
        rng = _stream(self.seed, _within(index, self.count), LAYOUT_STREAM)
        count = 0 if rng.random() < EMPTY_SHARE else int(rng.integers(1, self.max_objects + 1))
        return place_shapes(rng, self.size_hw, count=count, radius_range=self.radius_range, margin=0.75)


class ShapesSegmentation:
    """The same scenes with the class of every pixel; class 0 is the background.

    Args:
        count: see `ShapesDetection`, as all.
    """

    task = Task.SEGMENTATION
    labels = ("background", *SHAPES)

    def __init__(
        self,
        count: int,
        size_hw: tuple[int, int] = (192, 192),
        *,
        seed: int = 0,
        max_objects: int = 6,
        radius_range: tuple[float, float] = (0.09, 0.28),
    ) -> None:
        self._scenes = ShapesDetection(count, size_hw, seed=seed, max_objects=max_objects, radius_range=radius_range)

    def __len__(self) -> int:
        return len(self._scenes)

    def __getitem__(self, index: int) -> Sample:
        """One painted image with its class map."""
        return Sample(self._scenes[index].image_bgr, self.truth(index), self.image_id(index))

    def image_id(self, index: int) -> str:
        """Seed and number of the image."""
        return self._scenes.image_id(index)

    def truth(self, index: int) -> SegmentationMap:
        """The class map of one image, without painting it."""
        shapes = self._scenes.shapes(index)
        classes = np.array([0, *(shape.class_id + 1 for shape in shapes)], np.uint8)
        return SegmentationMap(classes[object_map(shapes, self._scenes.size_hw) + 1])

    def fingerprint(self) -> str:
        """`v1-generator:<sha256>` of the version and arguments of the generator."""
        scenes = self._scenes
        return _fingerprint(self, scenes.count, scenes.size_hw, scenes.seed, scenes.max_objects, scenes.radius_range)


class ShapesClassification:
    """Images with one shape among clutter, and its class.

    Args:
        count: number of images.
        size_hw: height and width of the images, in pixels.
        seed: other seeds give other images; give each split its own.
        radius_range: smallest and largest radius, as a fraction of the image's shorter side.

    Raises:
        DataError: a value makes no data set.
    """

    task = Task.CLASSIFICATION
    labels = SHAPES

    def __init__(
        self,
        count: int,
        size_hw: tuple[int, int] = (128, 128),
        *,
        seed: int = 0,
        radius_range: tuple[float, float] = (0.15, 0.38),
    ) -> None:
        self.count, self.size_hw, self.seed = _checked(count, size_hw, seed=seed)
        self.radius_range = (float(radius_range[0]), float(radius_range[1]))

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Sample:
        """One painted image with its class."""
        shape = self._shape(index)
        image = paint_scene([shape], self.size_hw, rng=_stream(self.seed, index, PAINT_STREAM))
        return Sample(image, ClassLabel(shape.class_id), self.image_id(index))

    def image_id(self, index: int) -> str:
        """Seed and number of the image."""
        return _image_id(self.seed, index)

    def truth(self, index: int) -> ClassLabel:
        """The class of one image, without painting it."""
        return ClassLabel(self._shape(index).class_id)

    def fingerprint(self) -> str:
        """`v1-generator:<sha256>` of the version and arguments of the generator."""
        return _fingerprint(self, self.count, self.size_hw, self.seed, self.radius_range)

    def _shape(self, index: int) -> PlacedShape:
        rng = _stream(self.seed, _within(index, self.count), LAYOUT_STREAM)
        while True:
            placed = place_shapes(rng, self.size_hw, count=1, radius_range=self.radius_range, margin=0.9)
            if placed:
                return placed[0]


def paint_scene(shapes: list[PlacedShape], size_hw: tuple[int, int], *, rng: np.random.Generator) -> np.ndarray:
    """A photograph of objects on a new ground, (h, w, 3) uint8 BGR."""
    image = paint_ground(rng, size_hw)
    paint_clutter(image, rng, count=int(rng.integers(*CLUTTER_RANGE)))
    for shape in shapes:
        paint_shape(image, shape)
    return develop(image, rng)


def boxes_of(shapes: list[PlacedShape], size_hw: tuple[int, int]) -> Detections:
    """The objects as ground truth, boxes clipped to the image."""
    return Detections(
        boxes_xyxy=np.array([shape.box_xyxy(size_hw) for shape in shapes], np.float32).reshape(-1, 4),
        scores=np.ones(len(shapes), np.float32),
        class_ids=np.array([shape.class_id for shape in shapes], np.int64),
    )


def _stream(seed: int, index: int, stream: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64([seed, index, stream]))


def _image_id(seed: int, index: int) -> str:
    return f"generated/seed{seed}/{index:06d}"


def _within(index: int, count: int) -> int:
    if not 0 <= index < count:
        raise IndexError(f"index {index}, expected 0..{count - 1}")
    return index


def _checked(count: int, size_hw: tuple[int, int], *, seed: int) -> tuple[int, tuple[int, int], int]:
    problems = []
    if count < 1:
        problems.append(f"count: found {count}, expected at least 1")
    if len(size_hw) != 2 or not all(32 <= side <= 4096 and math.isfinite(side) for side in size_hw):
        problems.append(f"size_hw: found {size_hw}, expected (height, width) in 32..4096")
    if seed < 0:
        problems.append(f"seed: found {seed}, expected 0 or more")
    if problems:
        raise DataError("generated data set: " + "; ".join(problems))
    return int(count), (int(size_hw[0]), int(size_hw[1])), int(seed)


def _fingerprint(dataset: object, *arguments: object) -> str:
    text = repr((GENERATOR_VERSION, type(dataset).__name__, *arguments))
    return f"v1-generator:{hashlib.sha256(text.encode()).hexdigest()}"
