"""How far two answers about nearly the same picture are apart, and what an answer has that those before and after it lack."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cvforge_edge.boxes import iou_matrix
from cvforge_edge.evidence.criteria import box_of
from cvforge_edge.evidence.reason import Reason
from cvforge_edge.labels import label_name
from cvforge_edge.types import ClassScores, Detections, Prediction, SegmentationMap

if TYPE_CHECKING:
    import numpy.typing as npt

SAME_IOU = 0.3
"""Two boxes of consecutive frames that overlap more than this are one object."""
SURE = 0.1
"""Only objects this far above the threshold flicker: weaker ones come and go with the noise."""
CHANGED_PIXELS = 0.05
PIXEL_GRID = 64
"""Pixels a side at which class maps are compared."""


def answer_distance(a: Prediction, b: Prediction) -> float:
    """How far two answers are apart, 0 (the same) to 1 (nothing in common).

    Detection: share of objects without partner in the other (1 - F1; source: Dice 1945, Measures of the Amount of Ecologic
    Association Between Species). Classification: total variation of the probabilities. Segmentation: share of the pixels.
    """
    if isinstance(a, Detections) and isinstance(b, Detections):
        if not len(a) + len(b):
            return 0.0
        pairs = same_objects(a, b)
        partnered = int(pairs.any(axis=1).sum()) + int(pairs.any(axis=0).sum())
        return 1 - partnered / (len(a) + len(b))
    if isinstance(a, ClassScores) and isinstance(b, ClassScores):
        return min(1.0, 0.5 * float(np.abs(a.probs - b.probs).sum()))
    if isinstance(a, SegmentationMap) and isinstance(b, SegmentationMap) and a.class_map.shape == b.class_map.shape:
        return float((_picked(a) != _picked(b)).mean())
    return 0.0


def flicker_reasons(
    before: Prediction, middle: Prediction, after: Prediction, *, labels: tuple[str, ...], score_threshold: float
) -> list[Reason]:
    """What the middle of three consecutive answers has that the two others lack, or lacks though both have it.

    Args:
        before: for the frame before.
        middle: for the frame that would be kept.
        after: for the frame after.
        labels: of the model.
        score_threshold: detection only, lowest score of an object.
    """
    answers: Any = (before, middle, after)
    if all(isinstance(answer, Detections) for answer in answers):
        return _flickering_objects(*answers, labels=labels, sure=score_threshold + SURE)
    if all(isinstance(answer, ClassScores) for answer in answers):
        return _flickering_class(*answers, labels=labels)
    if len({answer.class_map.shape for answer in answers}) > 1:
        return []
    return _flickering_pixels(*map(_picked, answers), labels=labels)


def same_objects(a: Detections, b: Detections) -> npt.NDArray[np.bool_]:
    """(n, m): which objects of two frames are of one class and in one place."""
    same: Any = a.class_ids[:, None] == b.class_ids[None, :]
    same &= iou_matrix(a.boxes_xyxy, b.boxes_xyxy) > SAME_IOU
    return same  # type: ignore[no-any-return]


def _flickering_objects(
    before: Detections, middle: Detections, after: Detections, *, labels: tuple[str, ...], sure: float
) -> list[Reason]:
    if not len(before) + len(middle) + len(after):
        return []
    earlier, later, around = same_objects(middle, before), same_objects(middle, after), same_objects(before, after)
    lonely = ~earlier.any(axis=1) & ~later.any(axis=1) & (middle.scores >= sure)
    gone = around.any(axis=1) & ~earlier.any(axis=0) & (before.scores >= sure)
    reasons = []
    if gone.any():
        lost = int(np.where(gone, before.scores, -1).argmax())
        label, place = label_name(labels, int(before.class_ids[lost])), box_of(before, lost)
        text = f"{label} {before.scores[lost]:.2f} is not found here, but in the frames before and after"
        reasons.append(Reason("flicker", float(before.scores[lost]), text, label=label, box_xyxy=place))
    if lonely.any():
        extra = int(np.where(lonely, middle.scores, -1).argmax())
        label, place = label_name(labels, int(middle.class_ids[extra])), box_of(middle, extra)
        text = f"{label} {middle.scores[extra]:.2f} is found here, but not in the frames before and after"
        reasons.append(Reason("flicker", float(middle.scores[extra]), text, label=label, box_xyxy=place))
    return reasons


def _flickering_class(
    before: ClassScores, middle: ClassScores, after: ClassScores, *, labels: tuple[str, ...]
) -> list[Reason]:
    [(first, _)], [(found, score)], [(last, _)] = before.top(1), middle.top(1), after.top(1)
    if found == first or first != last:
        return []
    names = label_name(labels, found), label_name(labels, first)
    text = f"{names[0]} {score:.2f}, but {names[1]} in the frames before and after"
    return [Reason("flicker", score, text, label=names[0])]


def _flickering_pixels(before: Any, middle: Any, after: Any, *, labels: tuple[str, ...]) -> list[Reason]:
    changed = (before == after) & (middle != before)
    share = float(changed.mean())
    if share < CHANGED_PIXELS:
        return []
    label = label_name(labels, int(np.bincount(middle[changed]).argmax()))
    return [
        Reason("flicker", share, f"{share:.0%} of the pixels have another class than before and after", label=label)
    ]


def _picked(answer: SegmentationMap) -> npt.NDArray[np.uint8]:
    rows, columns = (max(1, side // PIXEL_GRID) for side in answer.class_map.shape)
    return answer.class_map[::rows, ::columns]
