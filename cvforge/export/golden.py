"""Which images travel in a bundle as golden vectors, and how far a device may be from them."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from cvforge.errors import ExportBudgetError
from cvforge.evaluation import spread_indices
from cvforge_edge.golden import GoldenItem, Tolerance
from cvforge_edge.manifest import ModelFile
from cvforge_edge.match import prediction_problems
from cvforge_edge.postprocess import EMBEDDING, postprocess
from cvforge_edge.predictor import Predictor
from cvforge_edge.types import VOID_CLASS_ID, Detections, Prediction, SegmentationMap, Task

logger = logging.getLogger(__name__)

CANDIDATES_PER_ITEM = 4
MAX_SIDE = 1280  # pixels; larger originals are shrunk first, or a few photos would outweigh the model
MARGIN = {"fp32": 5.0, "fp16": 5.0, "int8": 2.0}
"""How much further from the checkpoint than the exporting machine a device may be. Two sets of int8 kernels, both right,
differ from each other as much as either does from the checkpoint (docs/decisions/0011)."""
FLOORS = {
    "fp32": Tolerance(input_steps=2, output_max=1e-3, output_mean=2e-4, score=5e-3, box_iou=0.95, unmatched=0.0),
    "fp16": Tolerance(input_steps=2, output_max=1e-2, output_mean=2e-3, score=2e-2, box_iou=0.9, unmatched=0.0),
    "int8": Tolerance(input_steps=2, output_max=5e-2, output_mean=5e-3, score=5e-2, box_iou=0.8, unmatched=0.0),
}
"""What is accepted in any case: processors round differently, and some compute fp16 files in half precision."""
PIXEL_FLOORS = {"fp32": 0.002, "fp16": 0.01, "int8": 0.03}
"""The same for the share of pixels that change their class, at borders where two classes are equally likely."""


def choose_golden(
    dataset: Any, checkpoint: Predictor, predictors: Mapping[ModelFile, Predictor], *, count: int
) -> tuple[list[GoldenItem], dict[str, Tolerance]]:
    """Real images that every exported file answers as the checkpoint does, and tolerances from what was measured.

    Images with objects are preferred, and among them those in which the checkpoint finds some. An image whose answer
    hangs on the last bit, such as two equally good boxes of one object, would accuse innocent devices and is left out.

    Args:
        dataset: has `truth(index)`, which opens no image.
        checkpoint: with the thresholds of use.
        predictors: each exported file, loaded.
        count: how many images are wanted.

    Raises:
        ExportBudgetError: there is no image on which all files agree with the checkpoint.
    """
    items = [_item(checkpoint, dataset[index].image_bgr) for index in _candidates(dataset, count)]
    items.sort(key=lambda item: not _has_content(item.prediction))  # stable: keeps the spread
    tolerances: dict[str, Tolerance] = {}
    for model, predictor in predictors.items():
        measured = _measured(predictor, items, precision=model.precision)
        tolerances[model.precision] = _wider(tolerances.get(model.precision, measured), measured)
    kept = [
        item
        for item in items
        if all(_agrees(predictor, item, tolerances[model.precision]) for model, predictor in predictors.items())
    ]
    if not kept:
        raise ExportBudgetError(
            f"none of {len(items)} validation images gives the same predictions in every exported file as in the "
            "checkpoint, so no golden vector can be made; no bundle was written"
        )
    if not any(_has_content(item.prediction) for item in kept):
        logger.warning(
            "nothing is found in any golden image, so the self-test compares raw outputs only; if there should be "
            "objects, lower the score threshold, or check how the network wants its input"
        )
    return kept[:count], tolerances


def _candidates(dataset: Any, count: int) -> list[int]:
    """Positions of images with objects, spread over the data set; any images where there are no objects at all."""
    wanted = count * CANDIDATES_PER_ITEM
    spread = spread_indices(len(dataset), wanted)
    chosen: list[int] = []
    for index in [*spread, *sorted(set(range(len(dataset))) - set(spread))]:
        if len(chosen) == wanted:
            break
        if _has_content(dataset.truth(index)):
            chosen.append(index)
    return chosen or spread


def _has_content(truth: Any) -> bool:
    if isinstance(truth, Detections):
        return len(truth) > 0
    if isinstance(truth, SegmentationMap):
        return np.setdiff1d(truth.class_map, (VOID_CLASS_ID,)).size > 1
    return True


def _item(checkpoint: Predictor, image_bgr: npt.NDArray[np.uint8]) -> GoldenItem:
    image_bgr = _bounded(image_bgr)
    input_u8, geometry = checkpoint.manifest.preprocess.apply(image_bgr)
    outputs = checkpoint.raw_outputs(input_u8)
    return GoldenItem(image_bgr, input_u8, outputs, postprocess(outputs, checkpoint.manifest.postprocess, geometry))


def _bounded(image_bgr: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    height, width = image_bgr.shape[:2]
    scale = MAX_SIDE / max(height, width)
    if scale >= 1:
        return image_bgr
    size_wh = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(image_bgr, size_wh, interpolation=cv2.INTER_AREA), np.uint8)


def _measured(predictor: Predictor, items: Sequence[GoldenItem], *, precision: str) -> Tolerance:
    """The floor, widened to `MARGIN` times the worst that this machine shows."""
    floor = FLOORS[precision]
    gives_embedding = EMBEDDING in predictor.manifest.outputs
    is_map = predictor.manifest.task is Task.SEGMENTATION
    output_max = output_mean = score = pixels = embedding = 0.0
    for item in items:
        found = predictor.raw_outputs(item.input_u8)
        for role, expected in item.outputs.items():
            error = np.abs(found[role].astype(np.float64) - expected)
            span = float(expected.max()) - float(expected.min()) or 1.0
            if role == EMBEDDING:
                embedding = max(embedding, float(error.max()) / span)
                continue
            output_max = max(output_max, float(error.max()) / span)
            output_mean = max(output_mean, float(error.mean()) / span)
            if role in ("scores", "probs"):
                score = max(score, float(error.max()))
        pixels = max(pixels, _changed_pixels(predictor, item))
    return Tolerance(
        input_steps=floor.input_steps,
        output_max=_widened(output_max, floor.output_max, margin=MARGIN[precision]),
        output_mean=_widened(output_mean, floor.output_mean, margin=MARGIN[precision]),
        score=_widened(score, floor.score, margin=MARGIN[precision]),
        box_iou=floor.box_iou,
        unmatched=_widened(pixels, PIXEL_FLOORS[precision] if is_map else floor.unmatched, margin=MARGIN[precision]),
        embedding=_widened(embedding, floor.output_max, margin=MARGIN[precision]) if gives_embedding else None,
    )


def _widened(measured: float, floor: float, *, margin: float) -> float:
    return min(1.0, max(floor, float(f"{margin * measured:.2g}")))


def _changed_pixels(predictor: Predictor, item: GoldenItem) -> float:
    if not isinstance(item.prediction, SegmentationMap):
        return 0.0
    found = _answer(predictor, item)
    assert isinstance(found, SegmentationMap)
    return float((found.class_map != item.prediction.class_map).mean())


def _answer(predictor: Predictor, item: GoldenItem) -> Prediction:
    _, geometry = predictor.manifest.preprocess.apply(item.image_bgr)
    return postprocess(predictor.raw_outputs(item.input_u8), predictor.manifest.postprocess, geometry)


def _agrees(predictor: Predictor, item: GoldenItem, tolerance: Tolerance) -> bool:
    threshold = predictor.manifest.postprocess.score_threshold
    found = _answer(predictor, item)
    return not prediction_problems(found, item.prediction, tolerance, score_threshold=threshold)


def _wider(first: Tolerance, second: Tolerance) -> Tolerance:
    return Tolerance(
        input_steps=max(first.input_steps, second.input_steps),
        output_max=max(first.output_max, second.output_max),
        output_mean=max(first.output_mean, second.output_mean),
        score=max(first.score, second.score),
        box_iou=min(first.box_iou, second.box_iou),
        unmatched=max(first.unmatched, second.unmatched),
        embedding=None if first.embedding is None else max(first.embedding, second.embedding or 0.0),
    )
