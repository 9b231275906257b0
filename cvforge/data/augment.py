"""Random changes of training images, one recipe a task: callables `augment(sample, *, seed) -> Sample`.

Each is a pure function of the sample and its seed. The geometric half is one affine map of our own
(`random_frame`), the photometric half is Albumentations (`photometric`).
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from cvforge.data.photometric import Photometric, PhotometricRange
from cvforge.data.random_frame import (
    FrameRange,
    Matrix,
    check_probability,
    check_range,
    crop_view,
    random_view,
    warp_boxes,
    warp_class_map,
    warp_image,
)
from cvforge.data.types import Sample
from cvforge_edge.types import ClassLabel, Detections, SegmentationMap, Task

MIN_BOX_PX = 2.0
"""Boxes with a shorter side than this after augmentation are dropped."""
VIEW_ATTEMPTS = 4
"""How many views are drawn before one without any box of its image is accepted."""


class DetectionAugment:
    """Zoom, shift, mirror and recolour images with boxes.

    Args:
        size_hw: height and width of the result; give the size of the network's input.
        resize: the view that scale 1 means, as in `preprocess`.
        scale_range: zoom; below 1 the image shrinks into a grey frame, above 1 it is cropped.
        aspect_range: factor on width / height.
        translate: shift beyond the frame, as a fraction of it.
        rotate_deg: largest rotation; boxes grow with it, so keep it small.
        horizontal_flip: probability.
        vertical_flip: probability; for images without an up, such as microscopy.
        min_visibility: a box of which less than this fraction is left in view is dropped.
        brightness: see `PhotometricRange`, as all below.
        pad_value: grey level outside the image, as in `preprocess`.
    """

    task = Task.DETECTION

    def __init__(
        self,
        size_hw: tuple[int, int],
        *,
        resize: str = "letterbox",
        scale_range: tuple[float, float] = (0.6, 1.6),
        aspect_range: tuple[float, float] = (0.85, 1.18),
        translate: float = 0.05,
        rotate_deg: float = 0.0,
        horizontal_flip: float = 0.5,
        vertical_flip: float = 0.0,
        min_visibility: float = 0.3,
        brightness: float = 0.2,
        contrast: float = 0.2,
        gamma: float = 0.2,
        hue_deg: float = 8.0,
        saturation: float = 0.3,
        gray: float = 0.01,
        degrade: float = 0.1,
        pad_value: int = 114,
    ) -> None:
        self.frame = FrameRange(
            tuple(size_hw),  # type: ignore[arg-type]
            resize=resize,
            scale_range=tuple(scale_range),  # type: ignore[arg-type]
            aspect_range=tuple(aspect_range),  # type: ignore[arg-type]
            translate=translate,
            rotate_deg=rotate_deg,
            horizontal_flip=horizontal_flip,
            vertical_flip=vertical_flip,
        )
        check_probability("min_visibility", min_visibility)
        self.min_visibility = min_visibility
        self.pad_value = pad_value
        self._photometric = Photometric(
            PhotometricRange(brightness, contrast, gamma, hue_deg, saturation, gray, degrade)
        )

    def __call__(self, sample: Sample, *, seed: int) -> Sample:
        """The sample seen differently; truth holds the boxes that are still in view, clipped to it."""
        truth = sample.truth
        assert isinstance(truth, Detections)
        rng = np.random.default_rng(seed)
        matrix, seen = self._view(rng, (sample.image_bgr.shape[0], sample.image_bgr.shape[1]), truth)
        image = warp_image(sample.image_bgr, matrix, size_hw=self.frame.size_hw, fill=self.pad_value)
        return Sample(self._photometric(image, seed=seed), seen, sample.image_id)

    def _view(
        self, rng: np.random.Generator, image_hw: tuple[int, int], truth: Detections
    ) -> tuple[Matrix, Detections]:
        """A view with at least one of the boxes, where one is found in a few attempts."""
        for _ in range(VIEW_ATTEMPTS):
            matrix = random_view(rng, image_hw, self.frame)
            seen = visible_boxes(truth, matrix, size_hw=self.frame.size_hw, min_visibility=self.min_visibility)
            if len(seen) or not len(truth):
                break
        return matrix, seen


class ClassificationAugment:
    """Crop, mirror and recolour images with a class.

    Args:
        size_hw: height and width of the result; give the size of the network's input.
        area_range: the crop's share of the image.
        resize: null for random crops of `area_range`, or the view that scale 1 means, as in `preprocess`: then whole
            images are seen, `letterbox` with their proportions, which suits objects that fill the image.
        scale_range: zoom around that view; unused for crops.
        horizontal_flip: probability.
        vertical_flip: probability.
        rotate_deg: largest rotation.
        brightness: see `PhotometricRange`, as `contrast` to `degrade`.
        operations: stronger colour changes drawn per image, 0 for none.
        erase: probability that a random rectangle is blanked.
            Source: Zhong et al. 2020, Random erasing data augmentation.
        pad_value: grey level outside the image and of what is erased.
    """

    task = Task.CLASSIFICATION

    def __init__(
        self,
        size_hw: tuple[int, int],
        *,
        area_range: tuple[float, float] = (0.25, 1.0),
        resize: str | None = None,
        scale_range: tuple[float, float] = (0.8, 1.25),
        horizontal_flip: float = 0.5,
        vertical_flip: float = 0.0,
        rotate_deg: float = 0.0,
        brightness: float = 0.3,
        contrast: float = 0.3,
        gamma: float = 0.2,
        hue_deg: float = 10.0,
        saturation: float = 0.3,
        gray: float = 0.02,
        degrade: float = 0.05,
        operations: int = 1,
        erase: float = 0.1,
        pad_value: int = 114,
    ) -> None:
        # Crops are mirrored and turned in their own frame, at scale 1.
        self.crops = resize is None
        self.frame = FrameRange(
            tuple(size_hw),  # type: ignore[arg-type]
            resize=resize or "stretch",
            scale_range=(1.0, 1.0) if resize is None else tuple(scale_range),  # type: ignore[arg-type]
            rotate_deg=rotate_deg,
            horizontal_flip=horizontal_flip,
            vertical_flip=vertical_flip,
        )
        self.area_range = (float(area_range[0]), float(area_range[1]))
        check_range("area_range", self.area_range, low=0.01, high=1.0)
        check_probability("erase", erase)
        self.erase = erase
        self.pad_value = pad_value
        self._photometric = Photometric(
            PhotometricRange(brightness, contrast, gamma, hue_deg, saturation, gray, degrade), operations=operations
        )

    def __call__(self, sample: Sample, *, seed: int) -> Sample:
        """The sample seen differently; its class stays."""
        assert isinstance(sample.truth, ClassLabel)
        rng = np.random.default_rng(seed)
        image_hw = (sample.image_bgr.shape[0], sample.image_bgr.shape[1])
        if self.crops:
            crop = crop_view(rng, image_hw, size_hw=self.frame.size_hw, area_range=self.area_range)
            matrix = _chain(random_view(rng, self.frame.size_hw, self.frame), crop)
        else:
            matrix = random_view(rng, image_hw, self.frame)
        image = warp_image(sample.image_bgr, matrix, size_hw=self.frame.size_hw, fill=self.pad_value)
        image = self._photometric(image, seed=seed)
        if rng.random() < self.erase:
            _erase(image, rng, fill=self.pad_value)
        return dataclasses.replace(sample, image_bgr=image)


class SegmentationAugment:
    """Zoom, crop, mirror and recolour images with a class map; void outside the image.

    Args:
        size_hw: height and width of the result; give the size of the network's input.
        resize: the view that scale 1 means, as in `preprocess`.
        scale_range: zoom around that view.
        aspect_range: factor on width / height.
        rotate_deg: largest rotation.
        horizontal_flip: probability.
        vertical_flip: probability.
        brightness: see `PhotometricRange`, as all below.
        pad_value: grey level outside the image, as in `preprocess`.
    """

    task = Task.SEGMENTATION

    def __init__(
        self,
        size_hw: tuple[int, int],
        *,
        resize: str = "letterbox",
        scale_range: tuple[float, float] = (0.5, 2.0),
        aspect_range: tuple[float, float] = (0.9, 1.11),
        rotate_deg: float = 0.0,
        horizontal_flip: float = 0.5,
        vertical_flip: float = 0.0,
        brightness: float = 0.25,
        contrast: float = 0.25,
        gamma: float = 0.2,
        hue_deg: float = 8.0,
        saturation: float = 0.3,
        gray: float = 0.01,
        degrade: float = 0.1,
        pad_value: int = 114,
    ) -> None:
        self.frame = FrameRange(
            tuple(size_hw),  # type: ignore[arg-type]
            resize=resize,
            scale_range=tuple(scale_range),  # type: ignore[arg-type]
            aspect_range=tuple(aspect_range),  # type: ignore[arg-type]
            rotate_deg=rotate_deg,
            horizontal_flip=horizontal_flip,
            vertical_flip=vertical_flip,
        )
        self.pad_value = pad_value
        self._photometric = Photometric(
            PhotometricRange(brightness, contrast, gamma, hue_deg, saturation, gray, degrade)
        )

    def __call__(self, sample: Sample, *, seed: int) -> Sample:
        """The sample seen differently, image and class map alike."""
        truth = sample.truth
        assert isinstance(truth, SegmentationMap)
        rng = np.random.default_rng(seed)
        size_hw = self.frame.size_hw
        matrix = random_view(rng, (sample.image_bgr.shape[0], sample.image_bgr.shape[1]), self.frame)
        image = warp_image(sample.image_bgr, matrix, size_hw=size_hw, fill=self.pad_value)
        seen = SegmentationMap(warp_class_map(truth.class_map, matrix, size_hw=size_hw))
        return Sample(self._photometric(image, seed=seed), seen, sample.image_id)


def visible_boxes(truth: Detections, matrix: Matrix, *, size_hw: tuple[int, int], min_visibility: float) -> Detections:
    """The boxes that a view still shows, clipped to it; stated areas and instance masks are left behind."""
    moved = warp_boxes(truth.boxes_xyxy, matrix)
    height, width = size_hw
    clipped = np.clip(moved, 0, np.array([width, height, width, height], np.float32))
    sides = clipped[:, 2:] - clipped[:, :2]
    whole = (moved[:, 2:] - moved[:, :2]).prod(axis=1)
    keep = (sides.min(axis=1, initial=np.inf) >= MIN_BOX_PX) & (sides.prod(axis=1) >= min_visibility * whole)
    return Detections(
        boxes_xyxy=clipped[keep],
        scores=truth.scores[keep],
        class_ids=truth.class_ids[keep],
        is_crowd=None if truth.is_crowd is None else truth.is_crowd[keep],
    )


def _chain(second: Matrix, first: Matrix) -> Matrix:
    """The map that does `first`, then `second`."""
    return second @ np.concatenate([first, [[0.0, 0.0, 1.0]]])  # type: ignore[no-any-return]


def _erase(image: npt.NDArray[np.uint8], rng: np.random.Generator, *, fill: int) -> None:
    """Blank a rectangle of 2 to 20 % of the image, in place."""
    area = rng.uniform(0.02, 0.2) * image.shape[0] * image.shape[1]
    ratio = np.exp(rng.uniform(np.log(0.4), np.log(2.5)))
    height, width = (
        min(int(side), limit)
        for side, limit in zip((np.sqrt(area * ratio), np.sqrt(area / ratio)), image.shape[:2], strict=True)
    )
    top = int(rng.integers(0, image.shape[0] - height + 1))
    left = int(rng.integers(0, image.shape[1] - width + 1))
    image[top : top + height, left : left + width] = fill
