"""A part of the picture that the model looks at; what it finds there comes back in pixels of the whole picture."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from cvforge_edge.errors import PictureError, UsageError
from cvforge_edge.records import dataclass
from cvforge_edge.types import VOID_CLASS_ID, Detections, Prediction, SegmentationMap

if TYPE_CHECKING:
    from cvforge_edge.draw import ImageU8
    from cvforge_edge.latency import PredictTimes
    from cvforge_edge.manifest import Manifest
    from cvforge_edge.sessions import FramePredictor

ACCEPTED = (
    "accepted X,Y,W,H: the left upper corner, width and height, all in whole pixels (320,0,640,480) or all as shares of "
    "the picture with a point (0.25,0.0,0.5,1.0)"
)


@dataclass(frozen=True)
class Region:
    """A rectangle in the picture.

    Attributes:
        x, y: left upper corner.
        width, height: above 0.
        shares: whether all four are shares of the picture, 0 to 1, or whole pixels.
    """

    x: float
    y: float
    width: float
    height: float
    shares: bool

    def pixels(self, size_hw: tuple[int, int]) -> tuple[slice, slice]:
        """Rows and columns in a picture of this size, at least one of each.

        Raises:
            PictureError: the region reaches out of the picture.
        """
        height, width = size_hw
        if self.shares:
            left, top = (math.floor(v) for v in (self.x * width, self.y * height))
            right = max(left + 1, math.ceil((self.x + self.width) * width - 1e-6))
            bottom = max(top + 1, math.ceil((self.y + self.height) * height - 1e-6))
        else:
            left, top, right, bottom = map(round, (self.x, self.y, self.x + self.width, self.y + self.height))
        if right > width or bottom > height:
            raise PictureError(
                f"--roi {left},{top},{right - left},{bottom - top}: reaches out of the picture, which is {width} pixels wide "
                f"and {height} high; give a smaller one, or shares of the picture such as 0.25,0.0,0.5,1.0"
            )
        return slice(top, bottom), slice(left, right)


def parse_region(text: str) -> Region:
    """The region that a user writes as `X,Y,W,H`.

    Raises:
        UsageError: it is none.
    """
    parts = text.split(",")
    try:
        x, y, width, height = map(float, parts)
    except ValueError:
        raise UsageError(f"--roi {text}: found no four numbers; {ACCEPTED}") from None
    shares = "." in text
    if not (all(map(math.isfinite, (x, y, width, height))) and min(x, y) >= 0 and min(width, height) > 0):
        raise UsageError(f"--roi {text}: the corner is at least 0, width and height are above 0; {ACCEPTED}")
    if shares and (x + width > 1 + 1e-9 or y + height > 1 + 1e-9):
        raise UsageError(f"--roi {text}: shares reach out of the picture (X + W and Y + H are at most 1); {ACCEPTED}")
    return Region(x, y, width, height, shares=shares)


class RegionPredictor:
    """A predictor that sees the region only; behaves like the one inside.

    Args:
        predictor: of the model.
        region: where it looks.
    """

    def __init__(self, predictor: FramePredictor, region: Region) -> None:
        self._predictor, self._region = predictor, region

    @property
    def manifest(self) -> Manifest:
        """Of the model."""
        return self._predictor.manifest

    @property
    def times(self) -> PredictTimes | None:
        """Of the predictor inside."""
        return self._predictor.times

    def predict(self, image_bgr: ImageU8) -> Prediction:
        """What is in the region, in pixels of the whole picture; a segmentation is void outside.

        Raises:
            PictureError: the region reaches out of the picture.
        """
        size_hw = (image_bgr.shape[0], image_bgr.shape[1])
        rows, columns = self._region.pixels(size_hw)
        prediction = self._predictor.predict(image_bgr[rows, columns])  # a view: nothing is copied
        return in_whole_picture(prediction, rows=rows, columns=columns, size_hw=size_hw)

    def close(self) -> None:
        """Release the model."""
        self._predictor.close()


def in_whole_picture(prediction: Prediction, *, rows: slice, columns: slice, size_hw: tuple[int, int]) -> Prediction:
    """A prediction for a part, in pixels of the picture that the part was cut from.

    Args:
        prediction: for the part.
        rows: of the part in the picture.
        columns: likewise.
        size_hw: of the whole picture.
    """
    if isinstance(prediction, Detections):
        offset = np.array([columns.start, rows.start] * 2, np.float32)
        masks = prediction.masks
        if masks is not None:
            whole = np.zeros((len(masks), *size_hw), masks.dtype)
            whole[:, rows, columns] = masks
            masks = whole
        return replace(prediction, boxes_xyxy=prediction.boxes_xyxy + offset, masks=masks)
    if isinstance(prediction, SegmentationMap):
        class_map = np.full(size_hw, VOID_CLASS_ID, np.uint8)
        class_map[rows, columns] = prediction.class_map
        return replace(prediction, class_map=class_map)
    return prediction
