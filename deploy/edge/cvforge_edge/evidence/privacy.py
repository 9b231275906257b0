"""What of a picture may be stored: all of it, or all of it except people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from cvforge_edge.errors import UsageError
from cvforge_edge.evidence.glance import Glance
from cvforge_edge.types import Detections, SegmentationMap

if TYPE_CHECKING:
    import numpy.typing as npt

    from cvforge_edge.draw import ImageU8

PEOPLE_LIKE = frozenset(
    ("person", "people", "pedestrian", "human", "man", "woman", "child", "boy", "girl", "rider", "cyclist", "bicyclist")
    + ("face", "head", "plate", "licenseplate", "licenceplate", "numberplate")
)
"""Class names, without spaces, marks and capitals."""
FAINT_SCORE = 0.05
"""Detection: candidates down to this score are blurred, too: hard frames are those where the network nearly missed one."""
MARGIN = 0.15
"""Each side of a box is moved out by this share of its width or height."""
MOSAIC_CELLS = 5
"""Cells on the longer side of a blurred object: a face in it has no eyes."""
PICTURE_CELLS = 24
"""Likewise of a whole picture."""
MASK_MARGIN = 0.01
"""Blurred pixels of a segmentation grow by this share of the longer side."""


def labels_to_blur(labels: Sequence[str], wanted: Sequence[str]) -> frozenset[int]:
    """Ids of the classes that are blurred: the wanted ones, or those that look like people by name.

    Raises:
        UsageError: the model knows no such class.
    """
    unknown = sorted(set(wanted) - set(labels))
    if unknown:
        raise UsageError(f"--evidence-blur: found {', '.join(unknown)}, the model knows {', '.join(labels)}")
    if wanted:
        return frozenset(labels.index(name) for name in wanted)
    plain = ("".join(filter(str.isalnum, label.lower())) for label in labels)
    return frozenset(index for index, name in enumerate(plain) if name in PEOPLE_LIKE)


def blurred(glance: Glance, class_ids: frozenset[int]) -> ImageU8:
    """A copy of the picture in which objects of these classes cannot be recognised; without any such class, all of it.

    Args:
        glance: of the picture; where the task has neither boxes nor pixels, the whole picture is blurred.
        class_ids: from `labels_to_blur`.
    """
    image: Any = glance.image_bgr.copy()
    prediction = glance.prediction
    if not class_ids or not isinstance(prediction, (Detections, SegmentationMap)):
        return mosaic(image, cells=PICTURE_CELLS)
    if isinstance(prediction, SegmentationMap):
        return _blurred_pixels(image, np.isin(prediction.class_map, list(class_ids)))
    faint: Any = glance.with_score_threshold(min(FAINT_SCORE, glance.spec.score_threshold))
    for box in faint.boxes_xyxy[np.isin(faint.class_ids, list(class_ids))]:
        rows, columns = _grown(box, image.shape)
        image[rows, columns] = mosaic(image[rows, columns], cells=MOSAIC_CELLS)
    return image  # type: ignore[no-any-return]


def mosaic(image_bgr: npt.NDArray[np.uint8], *, cells: int) -> ImageU8:
    """An image of the same size that holds so many averaged cells on its longer side, and nothing between them."""
    height, width = image_bgr.shape[:2]
    scale = cells / max(height, width)
    small_wh = (max(1, round(width * scale)), max(1, round(height * scale)))
    small: Any = cv2.resize(np.ascontiguousarray(image_bgr), small_wh, interpolation=cv2.INTER_AREA)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)  # type: ignore[no-any-return]


def _blurred_pixels(image: Any, where: npt.NDArray[np.bool_]) -> ImageU8:
    side = 2 * max(1, round(MASK_MARGIN * max(where.shape))) + 1
    grown = cv2.dilate(where.astype(np.uint8), np.ones((side, side), np.uint8)).astype(bool)
    # People of one picture stand in all of it: its own mosaic has cells as coarse as those of a whole picture.
    image[grown] = mosaic(image, cells=PICTURE_CELLS)[grown]
    return image  # type: ignore[no-any-return]


def _grown(box: Any, shape: tuple[int, ...]) -> tuple[slice, slice]:
    x1, y1, x2, y2 = map(float, box)
    dx, dy = MARGIN * (x2 - x1), MARGIN * (y2 - y1)
    columns = slice(max(0, int(x1 - dx)), min(shape[1], int(np.ceil(x2 + dx)) + 1))
    rows = slice(max(0, int(y1 - dy)), min(shape[0], int(np.ceil(y2 + dy)) + 1))
    return rows, columns
