"""Where the pixels of an image lie in the network's input, and the way back for boxes and class maps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from cvforge_edge.records import dataclass

if TYPE_CHECKING:
    import numpy.typing as npt

WHOLE_PIXEL_TOLERANCE = 1e-6
"""Field pixels; a window whose edges are this close to whole pixels is cut out and resized by OpenCV."""


@dataclass(frozen=True)
class Geometry:
    """How pixels of the original image lie in the network's input: input = original * scale + offset.

    Coordinates are continuous: a pixel with index i covers i..i+1 and has its centre at i + 0.5.

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
        return np.clip(boxes, np.float32(0), limit).astype(np.float32, copy=False)  # type: ignore[no-any-return]

    def boxes_to_input(self, boxes_xyxy: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Boxes (n, 4) of the original image in pixels of the input frame, not clipped."""
        scale = np.array(self.scale_xy * 2, np.float32)
        offset = np.array(self.offset_xy * 2, np.float32)
        return (boxes_xyxy * scale + offset).astype(np.float32, copy=False)

    def map_to_input(self, class_map: npt.NDArray[np.uint8], *, fill: int) -> npt.NDArray[np.uint8]:
        """A class map (h, w) of the original image in the input frame, `fill` outside the image.

        Each input pixel takes the class of the original pixel that contains its centre.
        """
        columns, seen_columns = _nearest(self.input_hw[1], self.original_hw[1], self.scale_xy[0], self.offset_xy[0])
        rows, seen_rows = _nearest(self.input_hw[0], self.original_hw[0], self.scale_xy[1], self.offset_xy[1])
        placed = class_map[rows][:, columns]
        placed[~seen_rows] = fill
        placed[:, ~seen_columns] = fill
        return placed

    def planes_to_original(self, field: npt.NDArray[np.float32]) -> Iterator[npt.NDArray[np.float32]]:
        """The channels of a field (h', w', c) that covers the whole input, at the size of the original image, bilinear.

        They come one by one, (h, w) each: less memory than all at once, and faster to reduce. Only field pixels whose
        centre lies on the image are read: what a network says about a letterbox border never mixes into the image.
        Pixels that the input never saw (outside a centre crop) repeat the nearest value.
        """
        columns = _FieldAxis(self.original_hw[1], field.shape[1], field.shape[1] / self.input_hw[1], self, axis=0)
        rows = _FieldAxis(self.original_hw[0], field.shape[0], field.shape[0] / self.input_hw[0], self, axis=1)
        planes = _channels_first(field)
        if columns.whole is None or rows.whole is None:
            samples = rows.samples(), columns.samples()
            for plane in planes:
                yield _bilinear(plane, *samples)
            return
        for plane in planes:
            window: Any = plane[rows.whole, columns.whole]
            if window.shape != self.original_hw:
                window = cv2.resize(window, self.original_hw[::-1], interpolation=cv2.INTER_LINEAR)
            yield window


class _FieldAxis:
    """One axis of a field: the window that shows the image, and where each original pixel samples it.

    Attributes:
        whole: the window as whole field pixels where it begins and ends on them, else None.
    """

    def __init__(self, original: int, field: int, stride: float, geometry: Geometry, *, axis: int) -> None:
        self._original, self._field = original, field
        self._step = geometry.scale_xy[axis] * stride
        self._begin = geometry.offset_xy[axis] * stride
        self._end = self._begin + original * self._step
        begin, end = round(self._begin), round(self._end)
        error = max(abs(self._begin - begin), abs(self._end - end))
        inside = 0 <= begin < end <= field and error < WHOLE_PIXEL_TOLERANCE
        self.whole = slice(begin, end) if inside else None

    def samples(self) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], npt.NDArray[np.float32]]:
        """For each original pixel: the two field pixels it lies between, and the weight of the second."""
        # Pixel centres, not corners, coincide.
        first = int(np.clip(np.ceil(self._begin - 0.5), 0, self._field - 1))
        last = int(np.clip(np.floor(self._end - 0.5), first, self._field - 1))
        position = (np.arange(self._original) + 0.5) * self._step + self._begin - 0.5
        position = np.clip(position, first, last)
        before = np.floor(position).astype(np.intp)
        return before, np.minimum(before + 1, last), (position - before).astype(np.float32)


def _bilinear(
    plane: npt.NDArray[np.float32],
    rows: tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], npt.NDArray[np.float32]],
    columns: tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], npt.NDArray[np.float32]],
) -> npt.NDArray[np.float32]:
    """Values of a (h, w) plane at a grid of positions between its pixels."""
    left, right, weight_x = columns
    top, bottom, weight_y = rows
    wide = plane[:, left]
    wide += (plane[:, right] - wide) * weight_x
    tall = wide[top]
    tall += (wide[bottom] - tall) * weight_y[:, None]
    return tall


def _channels_first(field: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The field as (c, h', w'), contiguous; OpenCV's transpose is several times faster than NumPy's here."""
    height, width, channels = field.shape
    flat: Any = cv2.transpose(np.ascontiguousarray(field, np.float32).reshape(height * width, channels))
    return flat.reshape(channels, height, width)  # type: ignore[no-any-return]


def _nearest(
    size: int, original: int, scale: float, offset: float
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.bool_]]:
    """For each input pixel: the original pixel under its centre (clipped to the image), and whether there is one."""
    position = np.floor((np.arange(size) + 0.5 - offset) / scale).astype(np.intp)
    seen = (position >= 0) & (position < original)
    return np.clip(position, 0, original - 1), seen
