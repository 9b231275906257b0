"""Whether two predictions for the same image say the same, within tolerances."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cvforge_edge.boxes import iou_matrix
from cvforge_edge.golden import Tolerance
from cvforge_edge.types import ClassScores, Detections, Prediction, SegmentationMap

if TYPE_CHECKING:
    import numpy.typing as npt


def prediction_problems(
    found: Prediction, expected: Prediction, tolerance: Tolerance, *, score_threshold: float
) -> list[str]:
    """What differs by more than the tolerance; empty when nothing does.

    Args:
        found: what the device says.
        expected: what the trainer said.
        tolerance: how far they may be apart.
        score_threshold: detection only; objects this close to it may come and go within the score tolerance.
    """
    if isinstance(found, Detections) and isinstance(expected, Detections):
        return _detection_problems(found, expected, tolerance, score_threshold=score_threshold)
    if isinstance(found, ClassScores) and isinstance(expected, ClassScores):
        return _class_problems(found, expected, tolerance)
    if isinstance(found, SegmentationMap) and isinstance(expected, SegmentationMap):
        return _map_problems(found, expected, tolerance)
    return [f"prediction is {type(found).__name__}, expected {type(expected).__name__}"]


def _detection_problems(
    found: Detections, expected: Detections, tolerance: Tolerance, *, score_threshold: float
) -> list[str]:
    """Every object that is not borderline needs a partner of its class, score and place on the other side."""
    partners = _partners(found, expected, tolerance)
    sure = score_threshold + tolerance.score
    missing = np.flatnonzero((expected.scores >= sure) & ~partners.any(axis=0))
    extra = np.flatnonzero((found.scores >= sure) & ~partners.any(axis=1))
    accepted = tolerance.unmatched * max(len(expected), 1)
    problems = []
    for indices, side, word in ((missing, expected, "missing"), (extra, found, "not expected")):
        if len(indices) > accepted:
            first = indices[0]
            box = ", ".join(f"{value:.1f}" for value in side.boxes_xyxy[first])
            problems.append(
                f"{len(indices)} of {len(side)} detections {word}, first: class {side.class_ids[first]}, "
                f"score {side.scores[first]:.3f}, box ({box})"
            )
    return problems


def _partners(found: Detections, expected: Detections, tolerance: Tolerance) -> npt.NDArray[np.bool_]:
    """(n found, n expected): which pairs agree in class, score and place."""
    same: Any = found.class_ids[:, None] == expected.class_ids[None, :]
    same &= np.abs(found.scores[:, None] - expected.scores[None, :]) <= tolerance.score
    same &= iou_matrix(found.boxes_xyxy, expected.boxes_xyxy) >= tolerance.box_iou
    return same  # type: ignore[no-any-return]


def _class_problems(found: ClassScores, expected: ClassScores, tolerance: Tolerance) -> list[str]:
    if found.probs.shape != expected.probs.shape:
        return [f"{found.probs.size} classes, expected {expected.probs.size}"]
    errors = np.abs(found.probs - expected.probs)
    worst = int(errors.argmax())
    if errors[worst] <= tolerance.score:
        return []
    return [
        f"class {worst} has probability {found.probs[worst]:.4f}, expected {expected.probs[worst]:.4f} "
        f"within {tolerance.score:g}"
    ]


def _map_problems(found: SegmentationMap, expected: SegmentationMap, tolerance: Tolerance) -> list[str]:
    if found.class_map.shape != expected.class_map.shape:
        return [f"class map is {found.class_map.shape}, expected {expected.class_map.shape}"]
    share = float((found.class_map != expected.class_map).mean())
    if share <= tolerance.unmatched:
        return []
    return [f"{share:.2%} of the pixels have another class, accepted {tolerance.unmatched:.2%}"]
