"""What an image becomes before the network sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from cvforge_edge.errors import SpecError
from cvforge_edge.geometry import Geometry
from cvforge_edge.records import dataclass

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["COLOR_ORDERS", "INTERPOLATIONS", "RESIZE_MODES", "Geometry", "PreprocessSpec"]

RESIZE_MODES = ("letterbox", "stretch", "center_crop")
INTERPOLATIONS = {"linear": cv2.INTER_LINEAR, "area": cv2.INTER_AREA, "cubic": cv2.INTER_CUBIC}
COLOR_ORDERS = ("rgb", "bgr")
MIN_SIZE, MAX_SIZE = 8, 8192
"""Accepted height and width of the network's input, in pixels."""


@dataclass(frozen=True)
class PreprocessSpec:
    """How a BGR image becomes the uint8 input of the network. Normalisation is inside the exported graph.

    Attributes:
        size_hw: height and width of the input, in pixels.
        resize: `letterbox` keeps proportions and pads, `stretch` fills the frame, `center_crop` keeps proportions and
            cuts what is too long.
        pad_value: grey level of the letterbox border, 0-255.
        color_order: order of the channels that the network expects.
        interpolation: `linear`, `area` (averages when shrinking) or `cubic`.

    Raises:
        SpecError: a value is not accepted; the message lists every one.
    """

    size_hw: tuple[int, int]
    resize: str = "letterbox"
    pad_value: int = 114
    color_order: str = "rgb"
    interpolation: str = "linear"

    def __post_init__(self) -> None:
        problems = [
            *_size_problems(self.size_hw),
            *_choice_problems("resize", self.resize, RESIZE_MODES),
            *_choice_problems("color_order", self.color_order, COLOR_ORDERS),
            *_choice_problems("interpolation", self.interpolation, tuple(INTERPOLATIONS)),
        ]
        if not _whole(self.pad_value) or not 0 <= self.pad_value <= 255:
            problems.append(f"pad_value: found {self.pad_value!r}, accepted whole numbers in 0..255")
        if problems:
            raise SpecError("; ".join(problems))
        object.__setattr__(self, "size_hw", tuple(self.size_hw))

    def apply(self, image_bgr: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.uint8], Geometry]:
        """The network's input for one image.

        Args:
            image_bgr: (h, w, 3) uint8, as OpenCV reads it.

        Returns:
            The input, (height, width, 3) uint8 C-contiguous in `color_order`, and the way back for results.

        Raises:
            SpecError: the image is not (h, w, 3) uint8 or has no pixels.
        """
        if image_bgr.ndim != 3 or image_bgr.shape[2] != 3 or image_bgr.dtype != np.uint8 or image_bgr.size == 0:
            raise SpecError(f"image: found {image_bgr.shape} {image_bgr.dtype}, expected (height, width, 3) uint8")
        original_hw = (image_bgr.shape[0], image_bgr.shape[1])
        framed = self._frame(image_bgr, original_hw)
        if self.color_order == "rgb":
            framed = cv2.cvtColor(framed, cv2.COLOR_BGR2RGB)
        return np.ascontiguousarray(framed), self.geometry(original_hw)

    def geometry(self, original_hw: tuple[int, int]) -> Geometry:
        """Where an image of this height and width lies in the network's input.

        The factor of each axis is what resizing to whole pixels really does, so boxes do not drift.
        """
        height, width = self.size_hw
        if self.resize == "letterbox":
            (top, left), inner_hw = _centred(self.size_hw, _inner_hw(original_hw, self.size_hw))
            scale_xy = (inner_hw[1] / original_hw[1], inner_hw[0] / original_hw[0])
            return Geometry(original_hw, self.size_hw, scale_xy, (float(left), float(top)))
        if self.resize == "center_crop":
            (top, left), window_hw = _centred(original_hw, _window_hw(original_hw, self.size_hw))
            scale_xy = (width / window_hw[1], height / window_hw[0])
            return Geometry(original_hw, self.size_hw, scale_xy, (-left * scale_xy[0], -top * scale_xy[1]))
        scale_xy = (width / original_hw[1], height / original_hw[0])
        return Geometry(original_hw, self.size_hw, scale_xy, (0.0, 0.0))

    def _frame(self, image_bgr: npt.NDArray[np.uint8], original_hw: tuple[int, int]) -> Any:
        if self.resize == "stretch":
            return self._resized(image_bgr, self.size_hw)
        if self.resize == "center_crop":
            # Cut first: a long thin image would otherwise grow to gigabytes before most of it is thrown away.
            (top, left), window_hw = _centred(original_hw, _window_hw(original_hw, self.size_hw))
            return self._resized(image_bgr[top : top + window_hw[0], left : left + window_hw[1]], self.size_hw)
        (top, left), inner_hw = _centred(self.size_hw, _inner_hw(original_hw, self.size_hw))
        if inner_hw == self.size_hw:
            return self._resized(image_bgr, inner_hw)
        framed = np.full((*self.size_hw, 3), self.pad_value, np.uint8)
        framed[top : top + inner_hw[0], left : left + inner_hw[1]] = self._resized(image_bgr, inner_hw)
        return framed

    def _resized(self, image_bgr: npt.NDArray[np.uint8], size_hw: tuple[int, int]) -> Any:
        if image_bgr.shape[:2] == size_hw:
            return image_bgr.copy()  # the input never shares memory with a camera's buffer
        return cv2.resize(image_bgr, size_hw[::-1], interpolation=INTERPOLATIONS[self.interpolation])


def _inner_hw(original_hw: tuple[int, int], size_hw: tuple[int, int]) -> tuple[int, int]:
    """Largest whole-pixel size with the proportions of the image that fits inside the frame."""
    scale = min(size_hw[0] / original_hw[0], size_hw[1] / original_hw[1])
    return max(1, round(original_hw[0] * scale)), max(1, round(original_hw[1] * scale))


def _window_hw(original_hw: tuple[int, int], size_hw: tuple[int, int]) -> tuple[int, int]:
    """Largest whole-pixel size with the proportions of the frame that fits inside the image."""
    return _inner_hw(size_hw, original_hw)


def _centred(outer_hw: tuple[int, int], inner_hw: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
    """Top left corner (y, x) of the inner rectangle centred in the outer one, and the inner size."""
    return ((outer_hw[0] - inner_hw[0]) // 2, (outer_hw[1] - inner_hw[1]) // 2), inner_hw


def _size_problems(size_hw: object) -> list[str]:
    sides = size_hw if isinstance(size_hw, (tuple, list)) else ()
    if len(sides) == 2 and all(_whole(side) and MIN_SIZE <= side <= MAX_SIZE for side in sides):
        return []
    return [f"size_hw: found {size_hw!r}, accepted two whole numbers (height, width) in {MIN_SIZE}..{MAX_SIZE}"]


def _choice_problems(name: str, value: object, accepted: tuple[str, ...]) -> list[str]:
    return [] if value in accepted else [f"{name}: found {value!r}, accepted {', '.join(accepted)}"]


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
