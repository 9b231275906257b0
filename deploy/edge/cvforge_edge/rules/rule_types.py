"""What a rules file says, checked. Points are x and y as fractions of the picture's width and height."""

from __future__ import annotations

from dataclasses import replace
from typing import Union

from cvforge_edge.records import dataclass

Point = tuple[float, float]

ANCHORS = ("bottom", "center")
"""The point of a box that counts: the middle of its lower edge (where a person stands), or its centre."""
DWELL_EVENTS = ("zone_entered", "zone_left", "dwelled")


@dataclass(frozen=True)
class LineCrossing:
    """Counts objects that cross a line.

    Attributes:
        name: of the rule.
        line: from and to; seen along it, a crossing from left to right is +1, from right to left -1.
        labels: classes that count; None for all.
        anchor: one of `ANCHORS`.
        cooldown_s: an object that has crossed does not count again for so long.
        sources: names of the sources that the rule is for; None for all.
    """

    name: str
    line: tuple[Point, Point]
    labels: tuple[str, ...] | None = None
    anchor: str = "bottom"
    cooldown_s: float = 0.0
    sources: tuple[str, ...] | None = None


@dataclass(frozen=True)
class ZoneOccupancy:
    """Tells when a zone holds many objects, and when it no longer does.

    Attributes:
        name: of the rule.
        zone: corners of a polygon.
        at_least: so many objects are many.
        labels: classes that count; None for all.
        anchor: one of `ANCHORS`.
        for_s: how long it must be so before it is told; the same for its end.
        cooldown_s: after an end, no new beginning for so long.
        sources: names of the sources that the rule is for; None for all.
    """

    name: str
    zone: tuple[Point, ...]
    at_least: int = 1
    labels: tuple[str, ...] | None = None
    anchor: str = "bottom"
    for_s: float = 0.0
    cooldown_s: float = 0.0
    sources: tuple[str, ...] | None = None


@dataclass(frozen=True)
class ZoneDwell:
    """Tells when an object enters a zone, leaves it, and has been in it for long.

    Attributes:
        name: of the rule.
        zone: corners of a polygon.
        longer_than_s: what is long; None tells nothing of it.
        events: which of `DWELL_EVENTS` are told.
        labels: classes that count; None for all.
        anchor: one of `ANCHORS`.
        for_s: how long an object must be inside, or outside, before that counts.
        cooldown_s: an object does not give the same event again for so long.
        sources: names of the sources that the rule is for; None for all.
    """

    name: str
    zone: tuple[Point, ...]
    longer_than_s: float | None = None
    events: tuple[str, ...] = DWELL_EVENTS
    labels: tuple[str, ...] | None = None
    anchor: str = "bottom"
    for_s: float = 0.0
    cooldown_s: float = 0.0
    sources: tuple[str, ...] | None = None


@dataclass(frozen=True)
class LabelHeld:
    """Tells when an image belongs to a class for some time; for classification.

    Attributes:
        name: of the rule.
        label: the class.
        min_score: it counts with at least this probability.
        for_s: how long it must be so before it is told; the same for its end.
        cooldown_s: after an end, no new beginning for so long.
        sources: names of the sources that the rule is for; None for all.
    """

    name: str
    label: str
    min_score: float = 0.5
    for_s: float = 0.0
    cooldown_s: float = 0.0
    sources: tuple[str, ...] | None = None


@dataclass(frozen=True)
class ClassChange:
    """Tells when the strongest class of the image is another one than before; for classification.

    Attributes:
        name: of the rule.
        min_score: a class counts with at least this probability; below, the one before goes on.
        for_s: how long a class must be the strongest before it is told.
        cooldown_s: after a change, no further one for so long.
        sources: names of the sources that the rule is for; None for all.
    """

    name: str
    min_score: float = 0.0
    for_s: float = 0.0
    cooldown_s: float = 0.0
    sources: tuple[str, ...] | None = None


@dataclass(frozen=True)
class PixelShare:
    """Tells when a class covers much of a zone; for segmentation.

    Attributes:
        name: of the rule.
        label: the class.
        above: share of the zone's pixels, 0 to 1.
        zone: corners of a polygon; None is the whole picture.
        for_s: how long it must be so before it is told; the same for its end.
        cooldown_s: after an end, no new beginning for so long.
        sources: names of the sources that the rule is for; None for all.
    """

    name: str
    label: str
    above: float
    zone: tuple[Point, ...] | None = None
    for_s: float = 0.0
    cooldown_s: float = 0.0
    sources: tuple[str, ...] | None = None


Rule = Union[LineCrossing, ZoneOccupancy, ZoneDwell, LabelHeld, ClassChange, PixelShare]


@dataclass(frozen=True)
class Rules:
    """A rules file.

    Attributes:
        rules: in the order of the file.
        draw: whether lines, zones and counts go into the annotated picture.
        max_gap_s: a pause between two frames that is longer says nothing about the time between them.
    """

    rules: tuple[Rule, ...]
    draw: bool = True
    max_gap_s: float = 5.0

    def for_source(self, name: str) -> Rules:
        """Those that are for a source of this name."""
        return replace(self, rules=tuple(r for r in self.rules if r.sources is None or name in r.sources))
