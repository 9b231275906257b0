"""What light, lens and camera make of an image, in a few numbers that cost less than a millisecond."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from cvforge_edge.errors import SpecError
from cvforge_edge.records import dataclass

if TYPE_CHECKING:
    import numpy.typing as npt

WORKING_SIDE = 320
"""Pixels of the longer side at which an image is measured: about what a network of an edge device sees."""
SAMPLE_SIDE = 64
"""Colours are counted on a grid of this many by this many pixels, so each image has the same weight."""
COLOR_BINS = 32
CHANNELS = ("blue", "green", "red")


@dataclass(frozen=True, eq=False)
class ImageMeasures:
    """What was measured on one image.

    Attributes:
        brightness: mean grey level, 0-255.
        contrast: standard deviation of the grey levels, 0-127.5.
        sharpness: log10(1 + variance of the Laplacian), 0 for a plain area, about 2 to 4 for a photo in focus. Source:
            Pech-Pacheco et al. 2000, Diatom autofocusing in brightfield microscopy, section 3.
        color_counts: (3, 32) int64, pixels of the grid in each 8 grey levels, channels blue, green, red.
    """

    brightness: float
    contrast: float
    sharpness: float
    color_counts: npt.NDArray[np.int64]


def measure_image(image_bgr: npt.NDArray[np.uint8]) -> ImageMeasures:
    """Measure an original image, before any preprocessing.

    An image whose longer side exceeds 320 pixels is shrunk to that first (area average). This bounds the cost (under
    1 ms for 640 x 480 on one core of a desktop processor, see benchmarks/frame_statistics.py), and blur counts as far
    as a network would see it, whatever the resolution of the camera.

    Args:
        image_bgr: (h, w, 3) uint8.

    Raises:
        SpecError: it has another shape or type, or no pixel.
    """
    shape: tuple[int, ...] = getattr(image_bgr, "shape", ())
    if len(shape) != 3 or shape[2] != len(CHANNELS) or 0 in shape or image_bgr.dtype != np.uint8:
        found = f"{shape} {getattr(image_bgr, 'dtype', type(image_bgr).__name__)}"
        raise SpecError(f"image: found {found}, expected (height, width, 3) uint8 with at least one pixel")
    small = shrunk(image_bgr)
    grey = cv2.cvtColor(small, cv2.COLOR_BGR2GRAY)
    brightness, contrast = _mean_and_deviation(grey)
    _, edges = _mean_and_deviation(cv2.Laplacian(grey, cv2.CV_16S))
    grid = cv2.resize(small, (SAMPLE_SIDE, SAMPLE_SIDE), interpolation=cv2.INTER_NEAREST)
    counts = [cv2.calcHist([grid], [channel], None, [COLOR_BINS], [0, 256]) for channel in range(len(CHANNELS))]
    return ImageMeasures(
        brightness=brightness,
        contrast=contrast,
        sharpness=math.log10(1 + edges**2),
        color_counts=np.stack([np.ravel(column) for column in counts]).astype(np.int64),
    )


def shrunk(image_bgr: npt.NDArray[np.uint8]) -> Any:
    """The picture at which an image, (h, w, 3) uint8, is measured: `measure_image` says the same of both."""
    height, width = image_bgr.shape[:2]
    scale = WORKING_SIDE / max(height, width)
    if scale >= 1:
        return np.ascontiguousarray(image_bgr)
    size_wh = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(image_bgr, size_wh, interpolation=cv2.INTER_AREA)


def _mean_and_deviation(plane: Any) -> tuple[float, float]:
    mean, deviation = cv2.meanStdDev(plane)
    return float(mean[0, 0]), float(deviation[0, 0])
