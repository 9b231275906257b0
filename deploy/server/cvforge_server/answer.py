"""A prediction as a client reads it: the fields of `tools/predict.py`, and what the client asked for beside them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from cvforge_edge.draw import draw_prediction
from cvforge_edge.labels import label_name
from cvforge_edge.prediction_record import prediction_record
from cvforge_edge.types import VOID_CLASS_ID, ClassScores, Detections, Prediction, SegmentationMap
from cvforge_server.masks import encode_mask, encoded_base64, png_base64
from cvforge_server.options import RequestOptions
from cvforge_server.room import UNLIMITED, Room

if TYPE_CHECKING:
    import numpy.typing as npt

JPEG_PARAMETERS = (cv2.IMWRITE_JPEG_QUALITY, 90)


def result_fields(
    prediction: Prediction,
    *,
    labels: Sequence[str],
    options: RequestOptions,
    picture_of: Callable[[], npt.NDArray[np.uint8]],
    room: Room = UNLIMITED,
) -> dict[str, Any]:
    """`detections`, `classes` or `pixel_shares` as in the lines of `cvforge_edge.sinks.jsonl`, and with them

    - `masks` (label to mask), or `class_map_png` and its `class_map_values` (label to value), of a segmentation, in the form
      that was asked for;
    - `annotated_jpeg`: base64, where it was asked for.

    Args:
        prediction: in pixels of the image.
        labels: of the model.
        options: of the request.
        picture_of: gives the image, (h, w, 3) uint8 BGR; called only where it is to be drawn into.
        room: for masks and pictures; they are refused before they are written in full.

    Raises:
        RequestError: there is not enough room.
    """
    class_ids = None if options.classes is None else _ids_of(options.classes, labels)
    if class_ids is not None and isinstance(prediction, Detections):
        prediction = prediction.select(np.isin(prediction.class_ids, class_ids))
    if isinstance(prediction, ClassScores):
        fields = _classes(prediction, labels, class_ids=class_ids, top=options.top)
    else:
        fields = prediction_record(prediction, labels)
    if options.masks != "none" and isinstance(prediction, SegmentationMap):
        fields |= _class_masks(prediction, labels, form=options.masks, room=room)
    if options.annotated:
        drawn = draw_prediction(picture_of(), prediction, labels=labels)
        fields["annotated_jpeg"] = encoded_base64(drawn, ".jpg", JPEG_PARAMETERS, room=room)
    return fields


def _ids_of(classes: Sequence[str], labels: Sequence[str]) -> list[int]:
    asked = set(classes)
    return [class_id for class_id, label in enumerate(labels) if label in asked]


def _classes(
    scores: ClassScores, labels: Sequence[str], *, class_ids: Sequence[int] | None, top: int
) -> dict[str, Any]:
    """The `top` classes among those that were asked for, each with its probability among all."""
    if class_ids is None:
        return prediction_record(scores, labels, top=top)
    every = prediction_record(scores, labels, top=len(labels))["classes"]
    asked = set(class_ids)
    return {"classes": [row for row in every if row["class_id"] in asked][:top]}


def _class_masks(prediction: SegmentationMap, labels: Sequence[str], *, form: str, room: Room) -> dict[str, Any]:
    class_map = prediction.class_map
    found = [int(class_id) for class_id in np.unique(class_map) if class_id != VOID_CLASS_ID]
    if form == "png":
        values = {label_name(labels, class_id): class_id for class_id in found}
        return {"class_map_png": png_base64(class_map, room=room), "class_map_values": values}
    masks = {label_name(labels, class_id): encode_mask(class_map == class_id, form, room=room) for class_id in found}
    return {"masks": masks}
