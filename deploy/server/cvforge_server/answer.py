"""A prediction as a client reads it: the fields of `tools/predict.py`, and what the client asked for beside them."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from cvforge_edge.draw import draw_prediction
from cvforge_edge.labels import label_name
from cvforge_edge.prediction_record import by_score, prediction_record
from cvforge_edge.types import VOID_CLASS_ID, Detections, Prediction, SegmentationMap
from cvforge_server.masks import encode_mask, png_base64
from cvforge_server.options import RequestOptions

if TYPE_CHECKING:
    import numpy.typing as npt

JPEG_QUALITY = 90


def result_fields(
    prediction: Prediction, image_bgr: npt.NDArray[np.uint8], *, labels: Sequence[str], options: RequestOptions
) -> dict[str, Any]:
    """`detections`, `classes` or `pixel_shares` as in the lines of `cvforge_edge.sinks.jsonl`, and with them

    - a `mask` for each detection that has one, or `masks` (label to mask) or `class_map_png` of a segmentation, in the form
      that was asked for;
    - `annotated_jpeg`: base64, where it was asked for.

    Args:
        prediction: in pixels of the image.
        image_bgr: (h, w, 3) uint8.
        labels: of the model.
        options: of the request.
    """
    if options.classes is not None:
        prediction = _only(prediction, [labels.index(name) for name in options.classes])
    fields = prediction_record(prediction, labels, top=options.top)
    if options.masks != "none":
        if isinstance(prediction, Detections) and prediction.masks is not None:
            for row, number in zip(fields["detections"], by_score(prediction), strict=True):
                row["mask"] = encode_mask(prediction.masks[number], options.masks)
        elif isinstance(prediction, SegmentationMap):
            fields |= _class_masks(prediction, labels, form=options.masks)
    if options.annotated:
        drawn = draw_prediction(image_bgr, prediction, labels=labels)
        fields["annotated_jpeg"] = _jpeg_base64(drawn)
    return fields


def _only(prediction: Prediction, class_ids: Sequence[int]) -> Prediction:
    if isinstance(prediction, Detections):
        return prediction.select(np.isin(prediction.class_ids, class_ids))
    if isinstance(prediction, SegmentationMap):
        class_map = prediction.class_map
        return SegmentationMap(np.where(np.isin(class_map, class_ids), class_map, np.uint8(VOID_CLASS_ID)))
    return prediction


def _class_masks(prediction: SegmentationMap, labels: Sequence[str], *, form: str) -> dict[str, Any]:
    class_map = prediction.class_map
    if form == "png":
        return {"class_map_png": png_base64(class_map)}
    found = [int(class_id) for class_id in np.unique(class_map) if class_id != VOID_CLASS_ID]
    return {"masks": {label_name(labels, class_id): encode_mask(class_map == class_id, form) for class_id in found}}


def _jpeg_base64(image_bgr: npt.NDArray[np.uint8]) -> str:
    ok, data = cv2.imencode(".jpg", image_bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    if not ok:
        raise ValueError(f"a picture {image_bgr.shape} cannot be encoded")
    return base64.b64encode(data.tobytes()).decode("ascii")
