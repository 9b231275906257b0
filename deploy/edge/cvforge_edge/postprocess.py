"""From a network's raw outputs to what a user asked for, one function a kind of output."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from cvforge_edge.boxes import nms
from cvforge_edge.errors import SpecError
from cvforge_edge.geometry import Geometry
from cvforge_edge.records import dataclass
from cvforge_edge.types import VOID_CLASS_ID, ClassScores, Detections, Prediction, SegmentationMap, Task

if TYPE_CHECKING:
    import numpy.typing as npt

MAX_CANDIDATES = 3000
"""Box and class pairs that enter non-maximum suppression at most, the best by score; bounds its time."""
PROBABILITY_SLACK = 0.01
"""How far above 1 a probability may lie: rounding of a quantised output, but no logits."""

EMBEDDING = "embedding"
"""Role (d,) that a model of any kind may have beside its own: where the image lies among others in the network's own features.
No prediction is made of it; `stats.statistics.Statistics` takes it in."""

Outputs = Mapping[str, Any]


@dataclass(frozen=True)
class PostprocessSpec:
    """What raw outputs become on the device.

    Attributes:
        kind: a name in `KINDS`.
        score_threshold: detection only; lowest score that counts as an object, in [0, 1].
        iou_threshold: detection with suppression only; overlap above which the weaker of two is dropped, in [0, 1].
        max_detections: detection only; how many objects of one image are kept, the best by score.

    Raises:
        SpecError: a value is not accepted; the message lists every one.
    """

    kind: str
    score_threshold: float = 0.3
    iou_threshold: float = 0.6
    max_detections: int = 300

    def __post_init__(self) -> None:
        problems = [] if self.kind in KINDS else [f"kind: found {self.kind!r}, accepted {', '.join(KINDS)}"]
        for name in ("score_threshold", "iou_threshold"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
                problems.append(f"{name}: found {value!r}, accepted a number in 0..1")
        count = self.max_detections
        if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= MAX_CANDIDATES:
            problems.append(f"max_detections: found {count!r}, accepted whole numbers in 1..{MAX_CANDIDATES}")
        if problems:
            raise SpecError("; ".join(problems))

    @property
    def task(self) -> Task:
        """The task that this kind of output belongs to."""
        return KINDS[self.kind].task

    @property
    def roles(self) -> tuple[str, ...]:
        """Names of the outputs that this kind consumes."""
        return KINDS[self.kind].roles


def postprocess(outputs: Outputs, spec: PostprocessSpec, geometry: Geometry) -> Prediction:
    """What the network says about one image, in pixels of the original image.

    Args:
        outputs: role -> float32 array without batch axis: `boxes` (n, 4) in input pixels and `scores` (n, c) in [0, 1];
            `probs` (c,) in [0, 1]; or `logits` (h', w', c) over the whole input.
        spec: kind and thresholds.
        geometry: how the image was placed in the input.

    Returns:
        Detections by descending score, class scores, or a segmentation map.

    Raises:
        SpecError: a role is missing, or an output has a wrong shape, a probability above 1, or NaN or Infinity.
    """
    missing = [role for role in spec.roles if role not in outputs]
    if missing:
        raise SpecError(
            f"outputs: {', '.join(missing)} missing for postprocess kind {spec.kind!r}; "
            f"found {', '.join(outputs) or 'none'}"
        )
    return KINDS[spec.kind].function(outputs, spec, geometry)


def number_of_classes(outputs: Outputs, spec: PostprocessSpec) -> int:
    """How many classes the outputs speak of: the length of the last axis of the output that has one."""
    return int(np.shape(outputs[spec.roles[-1]])[-1])


def _detections(outputs: Outputs, spec: PostprocessSpec, geometry: Geometry) -> Detections:
    candidates = _candidates(outputs, spec, geometry, limit=MAX_CANDIDATES)
    keep = nms(
        candidates.boxes_xyxy,
        candidates.scores,
        candidates.class_ids,
        iou_threshold=spec.iou_threshold,
        max_detections=spec.max_detections,
    )
    return candidates.select(keep)


def _detections_nms_free(outputs: Outputs, spec: PostprocessSpec, geometry: Geometry) -> Detections:
    return _candidates(outputs, spec, geometry, limit=spec.max_detections)


def _candidates(outputs: Outputs, spec: PostprocessSpec, geometry: Geometry, *, limit: int) -> Detections:
    """The best `limit` box and class pairs at or above the threshold, by descending score, clipped to the image.

    A box that has no area left inside the image is no object of it and is dropped.
    """
    boxes, scores = outputs["boxes"], outputs["scores"]
    _check_shape("scores", scores, axes=2)
    if boxes.shape != (scores.shape[0], 4):
        raise SpecError(f"boxes: found {boxes.shape}, expected ({scores.shape[0]}, 4): one row for each row of scores")
    _check_probabilities("scores", scores)
    flat = scores.reshape(-1)
    pairs = np.flatnonzero(flat >= np.float32(spec.score_threshold))
    if len(pairs) > limit:
        pairs = _strongest(flat, pairs, limit)
    pairs = pairs[np.argsort(-flat[pairs], kind="stable")]
    rows, class_ids = np.divmod(pairs, scores.shape[1])
    chosen = np.asarray(boxes[rows], np.float32)
    _check_finite("boxes", chosen)
    boxes_xyxy = geometry.boxes_to_original(chosen)
    visible = (boxes_xyxy[:, 2] > boxes_xyxy[:, 0]) & (boxes_xyxy[:, 3] > boxes_xyxy[:, 1])
    strengths = np.clip(flat[pairs], 0, 1).astype(np.float32, copy=False)
    return Detections(boxes_xyxy[visible], strengths[visible], class_ids[visible].astype(np.int64, copy=False))


def _strongest(flat: npt.NDArray[np.float32], pairs: npt.NDArray[np.intp], limit: int) -> npt.NDArray[np.intp]:
    """The `limit` pairs of highest score, in their given order; of equal scores at the edge the earlier ones."""
    values = flat[pairs]
    edge = np.partition(values, len(values) - limit)[len(values) - limit]
    above = values > edge
    at_edge = np.flatnonzero(values == edge)[: limit - np.count_nonzero(above)]
    above[at_edge] = True
    return pairs[above]  # type: ignore[no-any-return]


def _class_scores(outputs: Outputs, spec: PostprocessSpec, geometry: Geometry) -> ClassScores:
    probs = outputs["probs"]
    _check_shape("probs", probs, axes=1)
    _check_probabilities("probs", probs)
    return ClassScores(np.clip(probs, 0, 1).astype(np.float32))


def _segmentation(outputs: Outputs, spec: PostprocessSpec, geometry: Geometry) -> SegmentationMap:
    logits = outputs["logits"]
    _check_shape("logits", logits, axes=3)
    classes = logits.shape[2]
    if not 2 <= classes <= VOID_CLASS_ID:
        raise SpecError(f"logits: found {classes} channels, expected 2..{VOID_CLASS_ID}; export background as a class")
    _check_finite("logits", logits)
    planes = geometry.planes_to_original(logits)
    best: Any = np.array(next(planes))
    class_map = np.zeros(best.shape, np.uint8)
    for class_id, plane in enumerate(planes, start=1):
        # Plane by plane with OpenCV: ten times faster than np.argmax over a short last axis, same result.
        class_map[plane > best] = class_id
        best = cv2.max(plane, best)
    return SegmentationMap(class_map)


def _check_shape(role: str, array: Any, *, axes: int) -> None:
    if array.ndim != axes or 0 in array.shape:
        raise SpecError(f"{role}: found shape {array.shape}, expected {axes} axes, none of them empty")


def _check_probabilities(role: str, array: Any) -> None:
    highest = float(array.max())  # NaN when any value is
    if highest != highest:
        _check_finite(role, array)
    if not highest <= 1 + PROBABILITY_SLACK:
        raise SpecError(
            f"{role}: highest value is {highest:g}, expected at most 1; the exported graph must end in probabilities"
        )


def _check_finite(role: str, array: Any) -> None:
    if array.size and not np.isfinite(array).all():
        raise SpecError(
            f"{role}: found NaN or Infinity; this runtime computes the model wrongly, or the model itself is damaged"
        )


@dataclass(frozen=True)
class Kind:
    """One kind of raw output.

    Attributes:
        task: what it predicts.
        roles: the outputs it consumes; the last axis of the last one counts classes.
        function: makes a prediction of them.
    """

    task: Task
    roles: tuple[str, ...]
    function: Callable[[Outputs, PostprocessSpec, Geometry], Prediction]


KINDS = {
    "detection_nms": Kind(Task.DETECTION, ("boxes", "scores"), _detections),
    "detection_nms_free": Kind(Task.DETECTION, ("boxes", "scores"), _detections_nms_free),
    "classification_probs": Kind(Task.CLASSIFICATION, ("probs",), _class_scores),
    "segmentation_logits": Kind(Task.SEGMENTATION, ("logits",), _segmentation),
}
