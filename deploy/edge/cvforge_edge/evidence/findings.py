"""What is different between the pictures of a window and the reference in the bundle, each difference by name.

Every quantity that is known for each picture of the reference is compared by one rule: where does the median of the window
lie among the reference? A camera sees one place for hours, so its values are narrower than those of the reference and never
independent; a test for equal distributions (Kolmogorov-Smirnov, population stability index) calls every camera a drift. Where
the camera shows one place, drawn as the pictures of the reference were, its median lies below 0.5 % or above 99.5 % of them with
a chance of 1 %, however its pictures hang together, and less often where it shows many places. For drift it must lie outside by
a margin, too (`position.far_outside`).
Source: Mathisen 1943, A Method of Testing the Hypothesis that Two Samples are from the Same Population (where the median of
one sample lies in the other).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from cvforge_edge.evidence.position import DRIFT, LEVELS, NOTICE, OK, Limits, beyond_text, far_outside, position
from cvforge_edge.records import dataclass
from cvforge_edge.stats.distribution import Distribution
from cvforge_edge.stats.embedding import EmbeddingStatistics
from cvforge_edge.stats.statistics import Statistics
from cvforge_edge.types import Task

MIN_IMAGES = 30
"""Fewer pictures in a window, or in the reference, say nothing."""
BOTH_SIDES = Limits(notice_low=0.025, drift_low=0.005, notice_high=0.975, drift_high=0.995)
FAR_ONLY = Limits(notice_high=0.95, drift_high=0.99)
OBJECT_SCORES = Limits(notice_low=0.15, drift_low=0.05)
IMAGE_SCORES = Limits(notice_low=0.05, drift_low=0.01)
NUMBER_OF_OBJECTS = Limits(notice_low=0.005, notice_high=0.995)
MIX_NOTICE = 0.5
"""Total variation: so large a share of the answers goes to other classes."""
CAST_NOTICE = 0.10
"""Share of the light: one place may have this cast by itself, so it is never drift."""
VARIED = 0.5
"""A window that is at least so varied, as a share of the reference, shows many places and may be told by its mean."""
SHIFT_NOTICE, SHIFT_DRIFT = 0.6, 1.0
WORDS = {
    "brightness": ("darker", "brighter", "bright"),
    "contrast": ("flatter", "richer in contrast", "rich in contrast"),
    "sharpness": ("blurrier", "sharper", "sharp"),
}
DIGITS = 4


@dataclass(frozen=True)
class Finding:
    """One quantity of a window, compared.

    Attributes:
        quantity: `brightness`, `contrast`, `sharpness`, `colors`, `scores`, `objects`, `classes`, `distance`, `shift`.
        level: `ok`, `notice` or `drift`.
        found: of the window; what it is depends on the quantity (most: the median).
        usual: the same of the reference.
        text: a sentence for a person.
    """

    quantity: str
    level: str
    found: float
    usual: float
    text: str

    def to_value(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**vars(self), "found": round(self.found, DIGITS), "usual": round(self.usual, DIGITS)}


def compare(window: Statistics, reference: Statistics) -> tuple[Finding, ...]:
    """Every quantity that both know, the strongest finding first; empty where one has fewer than `MIN_IMAGES`.

    Args:
        window: what a device saw.
        reference: what the bundle brought, of the same model.
    """
    if min(window.images, reference.images) < MIN_IMAGES:
        return ()
    findings = [
        _image_finding(name, window.input.measures[name], reference.input.measures[name])
        for name in reference.input.measures
    ]
    findings.append(_color_finding(window, reference))
    findings += _answer_findings(window, reference)
    if window.embedding is not None and reference.embedding is not None and reference.embedding.can_measure:
        findings += _embedding_findings(window.embedding, reference.embedding)
    return tuple(sorted(findings, key=lambda finding: -LEVELS.index(finding.level)))


def _image_finding(quantity: str, window: Distribution, reference: Distribution) -> Finding:
    found, usual = window.quantile(0.5), reference.quantile(0.5)
    where = position(reference, found)
    level = _only_far(BOTH_SIDES.level(where), reference, found)
    less, more, word = WORDS[quantity]
    how = f"as {word} as in training" if level == OK else f"{less if where < 0.5 else more} than in training"
    beyond = "" if level == OK else f", beyond {beyond_text(where, reference.count)} of its pictures"
    text = f"pictures are {how}: median {quantity} {found:.3g}, reference {usual:.3g}{beyond}"
    return Finding(quantity, level, found, usual, text)


def _only_far(level: str, reference: Distribution, found: float) -> str:
    return NOTICE if level == DRIFT and not far_outside(reference, found) else level


def _answer_findings(window: Statistics, reference: Statistics) -> list[Finding]:
    found, usual = window.prediction, reference.prediction
    findings = []
    if (
        found.scores is not None
        and usual.scores is not None
        and found.scores.count >= MIN_IMAGES
        and usual.scores.count
    ):
        findings.append(_score_finding(found.scores, usual.scores, found.task))
    if found.objects is not None and usual.objects is not None:
        findings.append(_object_finding(found.objects, usual.objects))
    if found.classes.totals.sum() > 0 and usual.classes.totals.sum() > 0:
        findings.append(_class_finding(found.classes.totals, usual.classes.totals))
    return findings


def _score_finding(window: Distribution, reference: Distribution, task: Task) -> Finding:
    limits, things = (OBJECT_SCORES, "objects") if task is Task.DETECTION else (IMAGE_SCORES, "pictures")
    found, usual = window.quantile(0.5), reference.quantile(0.5)
    where = position(reference, found)
    level = limits.level(where)
    how = "as sure as" if level == OK else "less sure than"
    beyond = "" if level == OK else f", below {beyond_text(where, reference.count)} of its {things}"
    text = f"answers are {how} in training: median score {found:.2f}, reference {usual:.2f}{beyond}"
    return Finding("scores", level, found, usual, text)


def _object_finding(window: Distribution, reference: Distribution) -> Finding:
    found, usual = window.mean, reference.mean
    middle = int(np.searchsorted(np.cumsum(window.counts), 0.5 * window.count))  # one bin for each number of objects
    where = (float(reference.counts[:middle].sum()) + 0.5 * float(reference.counts[middle])) / reference.count
    level = NUMBER_OF_OBJECTS.level(where)
    how = "as many as" if level == OK else ("fewer than" if where < 0.5 else "more than")
    text = f"{how} in training: {found:.3g} objects in a picture on average, reference {usual:.3g}"
    return Finding("objects", level, found, usual, text)


def _class_finding(window: Any, reference: Any) -> Finding:
    """Total variation between the shares of the classes; named where as many classes occur as in the reference, about.

    One place shows few classes, with good reason. Sources: Levin & Peres 2017, Markov Chains and Mixing Times, 4.1; for the
    number of classes Jost 2006, Entropy and Diversity (the exponential of the entropy).
    """
    found, usual = window / window.sum(), reference / reference.sum()
    distance = 0.5 * float(np.abs(found - usual).sum())
    level = NOTICE if distance >= MIX_NOTICE and _classes(found) >= VARIED * _classes(usual) else OK
    text = f"{distance:.0%} of the answers go to other classes than in training"
    return Finding("classes", level, distance, 0.0, text)


def _classes(shares: Any) -> float:
    present = shares[shares > 0]
    return float(np.exp(-(present * np.log(present)).sum()))


def _color_finding(window: Statistics, reference: Statistics) -> Finding:
    """How far the shares of blue, green and red in all light lie from those of the reference: the largest difference.

    Chromaticity is free of brightness. Source: Wyszecki & Stiles 1982, Color Science, 3.3.3.
    """
    found, usual = _chromaticity(window), _chromaticity(reference)
    differences = found - usual
    strongest = int(np.abs(differences).argmax())
    cast = float(abs(differences[strongest]))
    level = NOTICE if cast >= CAST_NOTICE else OK
    colour = ("blue", "green", "red")[strongest]
    how = "coloured as" if level == OK else f"{'more' if differences[strongest] > 0 else 'less'} {colour} than"
    text = f"pictures are {how} in training: {colour} is {found[strongest]:.0%} of the light, reference {usual[strongest]:.0%}"
    return Finding("colors", level, float(found[strongest]), float(usual[strongest]), text)


def _chromaticity(statistics: Statistics) -> Any:
    counts = statistics.input.color_counts
    levels = (np.arange(counts.shape[1]) + 0.5) * 256 / counts.shape[1]
    light = counts @ levels
    return light / light.sum()


def _embedding_findings(window: EmbeddingStatistics, reference: EmbeddingStatistics) -> list[Finding]:
    findings = []
    if window.distances.count >= MIN_IMAGES and reference.distances.count >= MIN_IMAGES:
        findings.append(_distance_finding(window.distances, reference.distances))
        findings.append(_shift_finding(window, reference))
    return findings


def _distance_finding(window: Distribution, reference: Distribution) -> Finding:
    found, usual = window.quantile(0.5), reference.quantile(0.5)
    where = position(reference, found)
    level = _only_far(FAR_ONLY.level(where), reference, found)
    how = "as like those of training as those are" if level == OK else "unlike those of training"
    beyond = "" if level == OK else f", further than {beyond_text(where, reference.count)} of its pictures"
    text = f"to the network pictures are {how}: median distance {found:.2f}, reference {usual:.2f}{beyond}"
    return Finding("distance", level, found, usual, text)


def _shift_finding(window: EmbeddingStatistics, reference: EmbeddingStatistics) -> Finding:
    """Whether the mean of varied pictures lies where that of the reference does, in units of a picture's own distance.

    The mean square of the distances is the square of the mean's distance and the spread around it; the pictures of one place
    have hardly any spread, and their mean may lie as far out as any picture: there this says nothing.
    """
    away = float(reference.distance(window.mean[None])[0])
    spread = window.distances.variance + window.distances.mean**2 - away**2
    expected = 1 / np.sqrt(window.images) + 1 / np.sqrt(reference.images)
    excess = away - float(expected)
    level = LEVELS[(excess >= SHIFT_NOTICE) + (excess >= SHIFT_DRIFT)] if spread >= VARIED else OK
    how = (
        "lie on another side of what training showed"
        if level != OK
        else "lie around the middle of what training showed"
    )
    if level == OK and spread < VARIED:
        how = "show one place, whose mean tells nothing"
    return Finding("shift", level, away, float(expected), f"to the network pictures {how}: mean {away:.2f} away")
