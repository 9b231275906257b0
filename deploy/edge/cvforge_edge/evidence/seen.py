"""A frame, what the network made of it, and a picture of it small enough to compare with hundreds of others."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from cvforge_edge.evidence.glance import Glance
from cvforge_edge.frame import Frame
from cvforge_edge.records import dataclass

if TYPE_CHECKING:
    import numpy.typing as npt

THUMBNAIL_HW = (16, 16)
SAMPLES = 6
"""About so many pixels a side are averaged for one of the thumbnail: as quiet as the average of all, and much cheaper."""


@dataclass(frozen=True, eq=False)
class Seen:
    """One frame of a camera.

    Attributes:
        frame: from the source.
        camera: place of its source among those of the run, from 0.
        glance: what the network saw and said.
    """

    frame: Frame
    camera: int
    glance: Glance

    @cached_property
    def thumbnail(self) -> npt.NDArray[np.uint8]:
        """(16, 16) grey levels of what the network saw."""
        return thumbnail(self.glance.image_bgr)


def thumbnail(image_bgr: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """(16, 16) grey levels of a picture (h, w, 3), whatever its proportions."""
    steps = (max(1, side // (SAMPLES * small)) for side, small in zip(image_bgr.shape[:2], THUMBNAIL_HW, strict=True))
    rows, columns = steps
    picked = np.ascontiguousarray(image_bgr[::rows, ::columns])
    small: Any = cv2.resize(picked, THUMBNAIL_HW[::-1], interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(small, cv2.COLOR_BGR2GRAY)  # type: ignore[no-any-return]


def thumbnail_change(a: npt.NDArray[np.uint8], b: npt.NDArray[np.uint8]) -> float:
    """Mean difference of grey levels, 0-255, once both thumbnails are equally bright: light alone is no other picture."""
    difference = a.astype(np.int16) - b.astype(np.int16)
    return float(np.abs(difference - difference.mean()).mean())
