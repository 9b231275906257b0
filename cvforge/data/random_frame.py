"""A random view of an image: scaled, shifted, turned and mirrored, with the same for its boxes and its class map.

One affine map takes the original straight to the size of the network's input: one interpolation, and a fraction of the
time of a chain of crops and resizes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from cvforge_edge.preprocess import RESIZE_MODES
from cvforge_edge.types import VOID_CLASS_ID

Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True)
class FrameRange:
    """How far random views may go.

    Attributes:
        size_hw: height and width of the view, in pixels.
        resize: where views start from, as in `PreprocessSpec`: `letterbox`, `stretch` or `center_crop`.
        scale_range: factor on that size; below 1 zooms out, above 1 crops.
        aspect_range: factor on width / height.
        translate: shift beyond what scaling leaves free, as a fraction of the view.
        rotate_deg: largest rotation to either side.
        horizontal_flip: probability.
        vertical_flip: probability.
    """

    size_hw: tuple[int, int]
    resize: str = "letterbox"
    scale_range: tuple[float, float] = (1.0, 1.0)
    aspect_range: tuple[float, float] = (1.0, 1.0)
    translate: float = 0.0
    rotate_deg: float = 0.0
    horizontal_flip: float = 0.0
    vertical_flip: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "size_hw", tuple(int(side) for side in self.size_hw))
        if len(self.size_hw) != 2 or min(self.size_hw) < 8:
            raise ValueError(f"size_hw: found {self.size_hw}, expected (height, width) of 8 or more")
        if self.resize not in RESIZE_MODES:
            raise ValueError(f"resize: found {self.resize!r}, accepted {', '.join(RESIZE_MODES)}")
        check_range("scale_range", self.scale_range, low=0.05, high=20.0)
        check_range("aspect_range", self.aspect_range, low=0.1, high=10.0)
        for name in ("translate", "horizontal_flip", "vertical_flip"):
            check_probability(name, getattr(self, name))
        if not 0.0 <= self.rotate_deg <= 180.0:
            raise ValueError(f"rotate_deg: found {self.rotate_deg}, accepted 0..180")


def random_view(rng: np.random.Generator, image_hw: tuple[int, int], frame: FrameRange) -> Matrix:
    """A (2, 3) map from pixels of an image of this size to pixels of the view; corners, not pixel centres, count."""
    height, width = frame.size_hw
    scale = math.exp(rng.uniform(*np.log(frame.scale_range)))
    aspect = math.sqrt(math.exp(rng.uniform(*np.log(frame.aspect_range))))
    base_y, base_x = height / image_hw[0], width / image_hw[1]
    if frame.resize != "stretch":
        base_y = base_x = min(base_x, base_y) if frame.resize == "letterbox" else max(base_x, base_y)
    scale_x, scale_y = base_x * scale * aspect, base_y * scale / aspect
    left = _random_offset(rng, width, content=image_hw[1] * scale_x, slack=frame.translate * width)
    top = _random_offset(rng, height, content=image_hw[0] * scale_y, slack=frame.translate * height)
    matrix = np.array([[scale_x, 0, left], [0, scale_y, top], [0, 0, 1]], np.float64)
    turned = _turn(rng.uniform(-frame.rotate_deg, frame.rotate_deg), frame.size_hw) @ matrix
    if rng.random() < frame.horizontal_flip:
        turned = np.array([[-1, 0, width], [0, 1, 0], [0, 0, 1]], np.float64) @ turned
    if rng.random() < frame.vertical_flip:
        turned = np.array([[1, 0, 0], [0, -1, height], [0, 0, 1]], np.float64) @ turned
    return turned[:2]  # type: ignore[no-any-return]


def crop_view(
    rng: np.random.Generator, image_hw: tuple[int, int], *, size_hw: tuple[int, int], area_range: tuple[float, float]
) -> Matrix:
    """The map that brings a random crop, of a fraction of the image's area and a near-square shape, to `size_hw`.

    Source: Szegedy et al. 2015, Going deeper with convolutions, section 6: area 8-100 %, aspect ratio 3/4 to 4/3.
    """
    area = image_hw[0] * image_hw[1] * rng.uniform(*area_range)
    aspect = math.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3))) * size_hw[1] / size_hw[0]
    crop_width = min(math.sqrt(area * aspect), image_hw[1])
    crop_height = min(math.sqrt(area / aspect), image_hw[0])
    left = rng.uniform(0, image_hw[1] - crop_width) if crop_width < image_hw[1] else 0.0
    top = rng.uniform(0, image_hw[0] - crop_height) if crop_height < image_hw[0] else 0.0
    scale_x, scale_y = size_hw[1] / crop_width, size_hw[0] / crop_height
    return np.array([[scale_x, 0, -left * scale_x], [0, scale_y, -top * scale_y]], np.float64)


def warp_image(
    image: npt.NDArray[np.uint8], matrix: Matrix, *, size_hw: tuple[int, int], fill: int
) -> npt.NDArray[np.uint8]:
    """The view of an image, bilinear, `fill` outside it; strong shrinking averages first, so that it does not alias."""
    shrink = int(1.0 / max(float(np.sqrt(abs(np.linalg.det(matrix[:, :2])))), 1e-6))
    if shrink >= 2:
        small_hw = max(1, image.shape[0] // shrink), max(1, image.shape[1] // shrink)
        back = np.array([image.shape[1] / small_hw[1], image.shape[0] / small_hw[0]])
        image = cv2.resize(image, small_hw[::-1], interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
        matrix = np.concatenate([matrix[:, :2] * back, matrix[:, 2:]], axis=1)
    return cv2.warpAffine(  # type: ignore[return-value]
        image,
        _between_pixel_centres(matrix),
        size_hw[::-1],
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=(fill, fill, fill),
    )


def warp_class_map(
    class_map: npt.NDArray[np.uint8], matrix: Matrix, *, size_hw: tuple[int, int]
) -> npt.NDArray[np.uint8]:
    """The view of a class map, nearest neighbour, void outside it."""
    return cv2.warpAffine(  # type: ignore[return-value]
        class_map,
        _between_pixel_centres(matrix),
        size_hw[::-1],
        flags=cv2.INTER_NEAREST,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=VOID_CLASS_ID,
    )


def warp_boxes(boxes_xyxy: npt.NDArray[np.float32], matrix: Matrix) -> npt.NDArray[np.float32]:
    """The upright boxes (n, 4) around the four moved corners of each box, not clipped."""
    x1, y1, x2, y2 = boxes_xyxy.astype(np.float64).T
    corners = np.stack([np.stack([x1, y1]), np.stack([x2, y1]), np.stack([x2, y2]), np.stack([x1, y2])])  # (4, 2, n)
    moved = np.einsum("ij,cjn->cin", matrix[:, :2], corners) + matrix[None, :, 2:]
    return np.concatenate([moved.min(axis=0), moved.max(axis=0)]).T.astype(np.float32)


def check_range(name: str, bounds: tuple[float, float], *, low: float, high: float) -> None:
    """Raise ValueError unless `bounds` is a (smallest, largest) pair inside low..high."""
    if len(bounds) != 2 or not low <= bounds[0] <= bounds[1] <= high:
        raise ValueError(f"{name}: found {bounds}, expected (smallest, largest) in {low}..{high}")


def check_probability(name: str, value: float) -> None:
    """Raise ValueError unless `value` is in 0..1."""
    if not 0.0 <= value <= 1.0:
        raise ValueError(f"{name}: found {value}, accepted 0..1")


def _random_offset(rng: np.random.Generator, side: int, *, content: float, slack: float) -> float:
    """Where content of this length starts: anywhere inside the side, or covering it, and up to `slack` beyond."""
    free = side - content
    return float(rng.uniform(min(0.0, free), max(0.0, free)) + rng.uniform(-slack, slack))


def _turn(angle_deg: float, size_hw: tuple[int, int]) -> Matrix:
    """(3, 3) rotation about the centre of the view."""
    cosine, sine = math.cos(math.radians(angle_deg)), math.sin(math.radians(angle_deg))
    y, x = size_hw[0] / 2, size_hw[1] / 2
    return np.array(
        [[cosine, -sine, x - cosine * x + sine * y], [sine, cosine, y - sine * x - cosine * y], [0, 0, 1]], np.float64
    )


def _between_pixel_centres(matrix: Matrix) -> Matrix:
    """The same map for OpenCV, whose coordinates are 0 at the centre of the first pixel, not at its corner."""
    shift = matrix[:, 2] + matrix[:, :2] @ np.array([0.5, 0.5]) - 0.5
    return np.concatenate([matrix[:, :2], shift[:, None]], axis=1)
