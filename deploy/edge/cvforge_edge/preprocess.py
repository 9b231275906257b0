"""What an image becomes before the network sees it, and the way back for boxes and class maps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from cvforge_edge.errors import SpecError

RESIZE_MODES = ("letterbox", "stretch", "center_crop")
INTERPOLATIONS = {"linear": cv2.INTER_LINEAR, "area": cv2.INTER_AREA, "cubic": cv2.INTER_CUBIC}
COLOR_ORDERS = ("rgb", "bgr")
ImageU8 = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Geometry:
    """How pixels of the original image lie in the network's input: input = original * scale + offset.

    Attributes:
        original_hw: height and width of the original image, in pixels.
        input_hw: height and width of the network's input, in pixels.
        scale_xy: horizontal and vertical factor.
        offset_xy: position of the original's top left corner in the input, in input pixels; negative when cropped.
    """

    original_hw: tuple[int, int]
    input_hw: tuple[int, int]
    scale_xy: tuple[float, float]
    offset_xy: tuple[float, float]

    def boxes_to_original(self, boxes_input_xyxy: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Boxes (n, 4) of the input frame in pixels of the original image, clipped to it."""
        scale = np.array(self.scale_xy * 2, np.float32)
        offset = np.array(self.offset_xy * 2, np.float32)
        height, width = self.original_hw
        limit = np.array((width, height, width, height), np.float32)
        boxes = (boxes_input_xyxy - offset) / scale
        return np.clip(boxes, np.float32(0), limit).astype(np.float32)

    def boxes_to_input(self, boxes_xyxy: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Boxes (n, 4) of the original image in pixels of the input frame, not clipped."""
        scale = np.array(self.scale_xy * 2, np.float32)
        offset = np.array(self.offset_xy * 2, np.float32)
        return (boxes_xyxy * scale + offset).astype(np.float32)

    def map_to_input(self, class_map: npt.NDArray[np.uint8], *, fill: int) -> npt.NDArray[np.uint8]:
        """A class map (h, w) of the original image in the input frame, nearest neighbour, `fill` outside the image."""
        matrix = np.array(
            [[self.scale_xy[0], 0, self._nearest_shift(0)], [0, self.scale_xy[1], self._nearest_shift(1)]], np.float64
        )
        height, width = self.input_hw
        return cv2.warpAffine(  # type: ignore[return-value]
            class_map, matrix, (width, height), flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT, borderValue=fill
        )

    def field_to_original(self, field: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """A field (h', w', c) that covers the whole input, at the size of the original image, bilinear.

        Pixels of the original that the input never saw (outside a centre crop) repeat the nearest border value.
        """
        field_hw = field.shape[:2]
        stride_x, stride_y = field_hw[1] / self.input_hw[1], field_hw[0] / self.input_hw[0]
        # Pixel centres, not corners, coincide: x_field = ((x + .5) * scale + offset) * stride - .5
        step_x, step_y = self.scale_xy[0] * stride_x, self.scale_xy[1] * stride_y
        shift_x = 0.5 * step_x + self.offset_xy[0] * stride_x - 0.5
        shift_y = 0.5 * step_y + self.offset_xy[1] * stride_y - 0.5
        height, width = self.original_hw
        columns = np.arange(width, dtype=np.float32) * np.float32(step_x) + np.float32(shift_x)
        rows = np.arange(height, dtype=np.float32) * np.float32(step_y) + np.float32(shift_y)
        return _bilinear(field, rows, columns)

    def _nearest_shift(self, axis: int) -> float:
        return 0.5 * self.scale_xy[axis] + self.offset_xy[axis] - 0.5


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
    """

    size_hw: tuple[int, int]
    resize: str = "letterbox"
    pad_value: int = 114
    color_order: str = "rgb"
    interpolation: str = "linear"

    def __post_init__(self) -> None:
        if len(self.size_hw) != 2 or any(not isinstance(v, int) or not 8 <= v <= 8192 for v in self.size_hw):
            raise SpecError(f"size_hw: found {self.size_hw!r}, expected two whole numbers (height, width) in 8..8192")
        object.__setattr__(self, "size_hw", tuple(self.size_hw))
        _one_of("resize", self.resize, RESIZE_MODES)
        _one_of("color_order", self.color_order, COLOR_ORDERS)
        _one_of("interpolation", self.interpolation, tuple(INTERPOLATIONS))
        if isinstance(self.pad_value, bool) or not isinstance(self.pad_value, int) or not 0 <= self.pad_value <= 255:
            raise SpecError(f"pad_value: found {self.pad_value!r}, expected a whole number in 0..255")

    def apply(self, image_bgr: ImageU8) -> tuple[ImageU8, Geometry]:
        """The network's input for one image.

        Args:
            image_bgr: (h, w, 3) uint8, as OpenCV reads it.

        Returns:
            The input, (height, width, 3) uint8 C-contiguous in `color_order`, and the geometry that brings results back.

        Raises:
            SpecError: the image is not (h, w, 3) uint8 or has no pixels.
        """
        if image_bgr.ndim != 3 or image_bgr.shape[2] != 3 or image_bgr.dtype != np.uint8 or image_bgr.size == 0:
            raise SpecError(f"image: found {image_bgr.shape} {image_bgr.dtype}, expected (height, width, 3) uint8")
        geometry, inner_hw = self.geometry((image_bgr.shape[0], image_bgr.shape[1]))
        framed = self._frame(image_bgr, inner_hw)
        if self.color_order == "rgb":
            framed = cv2.cvtColor(framed, cv2.COLOR_BGR2RGB)  # type: ignore[assignment]
        return np.ascontiguousarray(framed), geometry

    def geometry(self, original_hw: tuple[int, int]) -> tuple[Geometry, tuple[int, int]]:
        """The geometry for an image of this size, and the (height, width) that the image is resized to."""
        scale_y, scale_x = self.size_hw[0] / original_hw[0], self.size_hw[1] / original_hw[1]
        if self.resize == "stretch":
            return Geometry(original_hw, self.size_hw, (scale_x, scale_y), (0.0, 0.0)), self.size_hw
        scale = min(scale_x, scale_y) if self.resize == "letterbox" else max(scale_x, scale_y)
        inner_hw = (max(1, round(original_hw[0] * scale)), max(1, round(original_hw[1] * scale)))
        # Whole pixels on both sides; the factor of each axis is what resizing to whole pixels really did.
        top, left = (self.size_hw[0] - inner_hw[0]) // 2, (self.size_hw[1] - inner_hw[1]) // 2
        real_scale = (inner_hw[1] / original_hw[1], inner_hw[0] / original_hw[0])
        return Geometry(original_hw, self.size_hw, real_scale, (float(left), float(top))), inner_hw

    def _frame(self, image_bgr: ImageU8, inner_hw: tuple[int, int]) -> ImageU8:
        resized: Any = image_bgr
        if inner_hw != image_bgr.shape[:2]:
            resized = cv2.resize(image_bgr, inner_hw[::-1], interpolation=INTERPOLATIONS[self.interpolation])
        height, width = self.size_hw
        top, left = (height - inner_hw[0]) // 2, (width - inner_hw[1]) // 2
        if self.resize == "center_crop":
            return resized[-top : -top + height, -left : -left + width]  # type: ignore[no-any-return]
        if inner_hw == self.size_hw:
            return resized  # type: ignore[no-any-return]
        framed = np.full((height, width, 3), self.pad_value, np.uint8)
        framed[top : top + inner_hw[0], left : left + inner_hw[1]] = resized
        return framed


def _bilinear(
    field: npt.NDArray[np.float32], rows: npt.NDArray[np.float32], columns: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """Values of a (h, w, c) field at the grid of fractional rows and columns, border repeated."""
    columns = np.clip(columns, 0, field.shape[1] - 1)
    rows = np.clip(rows, 0, field.shape[0] - 1)
    left, top = np.floor(columns).astype(np.intp), np.floor(rows).astype(np.intp)
    right, bottom = np.minimum(left + 1, field.shape[1] - 1), np.minimum(top + 1, field.shape[0] - 1)
    weight_x, weight_y = (columns - left)[None, :, None], (rows - top)[:, None, None]
    wide = field[:, left] + (field[:, right] - field[:, left]) * weight_x
    return wide[top] + (wide[bottom] - wide[top]) * weight_y  # type: ignore[no-any-return]


def _one_of(name: str, value: str, accepted: tuple[str, ...]) -> None:
    if value not in accepted:
        raise SpecError(f"{name}: found {value!r}, accepted {', '.join(accepted)}")
