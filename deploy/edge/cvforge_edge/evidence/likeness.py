"""Whether two hard frames would teach the same: one scene, one reason, one place."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any

import numpy as np

from cvforge_edge.boxes import iou_matrix
from cvforge_edge.evidence.seen import THUMBNAIL_HW, thumbnail_change
from cvforge_edge.records import dataclass
from cvforge_edge.strict_json import Fields

if TYPE_CHECKING:
    import numpy.typing as npt

SAME_SCENE = 8.0
"""Grey levels between thumbnails up to which two pictures show one scene."""
SAME_PLACE_IOU = 0.3
SHARE_DECIMALS = 5


@dataclass(frozen=True, eq=False)
class Likeness:
    """What of a hard frame is compared with others.

    Attributes:
        kind: of its strongest reason.
        label: of that reason, or None.
        box_xyxy: where that reason is, as shares of width and height; None for the whole picture.
        thumbnail: (16, 16) uint8; of what is stored: without pictures it is plain grey, and tells nothing.
    """

    kind: str
    label: str | None
    box_xyxy: tuple[float, float, float, float] | None
    thumbnail: npt.NDArray[np.uint8]

    @property
    def group(self) -> tuple[str, str | None]:
        """Frames of one group compete for room."""
        return self.kind, self.label

    def is_like(self, other: Likeness) -> bool:
        """Whether both would teach the same."""
        return (
            self.group == other.group
            and _same_place(self.box_xyxy, other.box_xyxy)
            and thumbnail_change(self.thumbnail, other.thumbnail) <= SAME_SCENE
        )

    def to_value(self) -> dict[str, Any]:
        """Plain values for JSON."""
        value: dict[str, Any] = {
            "kind": self.kind,
            "thumbnail": base64.b64encode(self.thumbnail.tobytes()).decode("ascii"),
        }
        if self.label is not None:
            value["label"] = self.label
        if self.box_xyxy is not None:
            value["box_shares_xyxy"] = [round(side, SHARE_DECIMALS) for side in self.box_xyxy]
        return value

    @classmethod
    def read(cls, fields: Fields) -> Likeness | None:
        """The likeness that JSON fields stand for, or None with their problems noted in `fields`."""
        kind, picture = fields.text("kind"), fields.text("thumbnail")
        label = fields.text("label") if fields.has("label") else None
        box = fields.numbers("box_shares_xyxy") if fields.has("box_shares_xyxy") else None
        fields.finish()
        if kind is None or picture is None:
            return None
        try:
            pixels = np.frombuffer(base64.b64decode(picture, validate=True), np.uint8).reshape(THUMBNAIL_HW)
        except (ValueError, binascii.Error):
            fields.problem(
                f"{fields.path('thumbnail')}: found no {THUMBNAIL_HW[0]} x {THUMBNAIL_HW[1]} bytes in base64"
            )
            return None
        if box is not None and len(box) != 4:
            fields.problem(f"{fields.path('box_shares_xyxy')}: found {len(box)} numbers, expected 4")
            return None
        return cls(kind, label, None if box is None else (box[0], box[1], box[2], box[3]), pixels)


def _same_place(a: tuple[float, ...] | None, b: tuple[float, ...] | None) -> bool:
    if a is None or b is None:
        return a is b
    boxes = [np.array([box], np.float32) for box in (a, b)]
    return float(iou_matrix(boxes[0], boxes[1])[0, 0]) > SAME_PLACE_IOU
