"""What makes a single frame hard: the network is not sure of its answer, or the picture is unlike those of the reference."""

from __future__ import annotations

import numpy as np

from cvforge_edge.evidence.glance import Glance
from cvforge_edge.evidence.position import position
from cvforge_edge.evidence.reason import Reason
from cvforge_edge.labels import label_name
from cvforge_edge.stats.image import measure_image
from cvforge_edge.stats.statistics import INPUT_BINS, Statistics
from cvforge_edge.types import ClassScores, Detections

SCORE_BAND = 0.15
"""Detection: an object whose score is less than this above the threshold is not sure."""
UNSURE_SHARE = 0.5
"""Detection: a picture is hard where at least this share of its objects is not sure."""
NEARLY = 0.7
"""Detection: a picture without objects is hard where the best candidate reaches this share of the threshold."""
MARGIN = 0.2
"""Classification: the two strongest classes are closer than this. Source: Scheffer et al. 2001, Active Hidden Markov Models
for Information Extraction, 3 (margin sampling)."""
ENTROPY = 0.15
"""Segmentation: mean entropy of a pixel, as a share of the largest; see docs/results/drift_on_device.md for its choice."""
OUTLIER = 0.995
"""Share of the reference that an outlier lies beyond."""


def unsure_reasons(glance: Glance, labels: tuple[str, ...]) -> list[Reason]:
    """Why the network is not sure of its answer; empty where it is."""
    prediction = glance.prediction
    if isinstance(prediction, Detections):
        if len(prediction):
            return _unsure_objects(prediction, labels, score_threshold=glance.spec.score_threshold)
        return _nearly_found(glance, labels)
    if isinstance(prediction, ClassScores):
        return _unsure_class(prediction, labels)
    entropy = glance.entropy
    if entropy is None or entropy < ENTROPY:
        return []
    return [Reason("unsure", entropy, f"entropy of the pixels' classes is {entropy:.2f} of the largest on average")]


def outlier_reasons(glance: Glance, reference: Statistics | None, *, distance: float | None) -> list[Reason]:
    """In what a picture lies beyond 99.5 % of the reference; empty where there is none, or the picture is like it.

    Args:
        glance: at the picture.
        reference: from the bundle; None where it has none.
        distance: of its embedding from the reference; None where there is none.
    """
    if reference is None or not reference.images:
        return []
    reasons = []
    measured = measure_image(glance.image_bgr)
    for quantity in INPUT_BINS:
        value, usual = getattr(measured, quantity), reference.input.measures[quantity]
        share = abs(2 * position(usual, value) - 1)
        if share >= 2 * OUTLIER - 1:
            away = abs(value - usual.mean) / max(np.sqrt(usual.variance), 1e-9)
            text = f"{quantity} is {value:.3g}, of the reference {usual.quantile(0.5):.3g}"
            reasons.append(Reason("outlier", _grown(away / 3), text, label=quantity))
    if reference.embedding is not None and distance is not None:
        limit = reference.embedding.distances.quantile(OUTLIER)
        if distance > limit:
            text = (
                f"to the network it is {distance:.2f} away from the reference, 99.5 % of which lie within {limit:.2f}"
            )
            reasons.append(Reason("outlier", _grown(distance / max(limit, 1e-9)), text, label="distance"))
    return reasons


def _unsure_objects(found: Detections, labels: tuple[str, ...], *, score_threshold: float) -> list[Reason]:
    unsure = np.flatnonzero(found.scores < score_threshold + SCORE_BAND)
    share = len(unsure) / len(found)
    if share < UNSURE_SHARE:
        return []
    weakest = int(unsure[found.scores[unsure].argmin()])
    label = label_name(labels, int(found.class_ids[weakest]))
    text = (
        f"{len(unsure)} of {len(found)} objects score less than {SCORE_BAND} above the threshold {score_threshold:g}; "
        f"weakest: {label} {found.scores[weakest]:.2f}"
    )
    return [Reason("unsure", share, text, label=label, box_xyxy=box_of(found, weakest))]


def _nearly_found(glance: Glance, labels: tuple[str, ...]) -> list[Reason]:
    scores = glance.outputs["scores"]
    best, threshold = float(scores.max(initial=0.0)), glance.spec.score_threshold
    if not NEARLY * threshold <= best < threshold:
        return []
    label = label_name(labels, int(np.unravel_index(int(scores.argmax()), scores.shape)[1]))
    text = f"no object found, but {label} scores {best:.2f}, just below the threshold {threshold:g}"
    return [Reason("nothing_sure", best / threshold, text, label=label)]


def _unsure_class(scores: ClassScores, labels: tuple[str, ...]) -> list[Reason]:
    if len(scores.probs) < 2:
        return []
    (first, p), (second, q) = scores.top(2)
    if p - q >= MARGIN:
        return []
    names = label_name(labels, first), label_name(labels, second)
    return [Reason("unsure", 1 - (p - q), f"{names[0]} {p:.2f} or {names[1]} {q:.2f}", label=names[0])]


def box_of(found: Detections, index: int) -> tuple[float, float, float, float]:
    """The box of one object as plain numbers."""
    x1, y1, x2, y2 = map(float, found.boxes_xyxy[index])
    return x1, y1, x2, y2


def _grown(times: float) -> float:
    """0 to 1, growing with how many times as far as the limit something lies; a half at the limit."""
    return times / (1 + times)
