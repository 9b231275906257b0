"""Line crossings, occupancy of zones and dwelling in them: rules on tracked objects."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import field

from cvforge_edge.errors import SpecError
from cvforge_edge.events import Event
from cvforge_edge.frame import Result
from cvforge_edge.labels import label_name
from cvforge_edge.markings import Marking
from cvforge_edge.records import dataclass
from cvforge_edge.rules.condition import NEVER_S, Condition
from cvforge_edge.rules.rule_types import LineCrossing, Point, ZoneDwell, ZoneOccupancy
from cvforge_edge.rules.shapes import anchor_points, crosses, in_pixels, inside, side_of
from cvforge_edge.rules.watch import make_event
from cvforge_edge.types import Detections

LINE_MARGIN = 0.05
"""An object is on the other side of a line when it is beyond it by this part of its height: one that stands on the line
and trembles does not count again and again."""


@dataclass(frozen=True)
class _Seen:
    """One object in a frame: id, label, anchor in pixels, height of its box in pixels."""

    track_id: int
    label: str
    anchor: Point
    height: float


class LineWatch:
    """Counts crossings."""

    def __init__(self, rule: LineCrossing, *, gone_after_s: float) -> None:
        self._rule, self._gone_after_s = rule, gone_after_s
        self._places: dict[int, _Place] = {}
        self._time_s = 0.0
        self.forward = self.backward = 0

    def see(self, result: Result) -> list[Event]:
        """An event `line_crossed` for each crossing, with value +1 or -1."""
        time_s, events = result.frame.time_s, []
        self._forget(time_s)
        line = in_pixels(self._rule.line, result.frame.image_bgr.shape)
        for seen in _objects(result, self._rule):
            place = self._places.setdefault(seen.track_id, _Place(seen.anchor, side_of(line, seen.anchor)))
            direction = place.move(seen, line, time_s)
            if direction and time_s - place.crossed_s >= self._rule.cooldown_s:
                place.crossed_s = time_s
                self.forward += direction > 0
                self.backward += direction < 0
                value = float(direction)
                kind = "line_crossed"
                events.append(
                    make_event(result, self._rule.name, kind, label=seen.label, track_id=seen.track_id, value=value)
                )
        return events

    def marking(self) -> Marking:
        """The line and its counts."""
        return Marking(self._rule.line, f"{self._rule.name}  +{self.forward}  -{self.backward}")

    def _forget(self, time_s: float) -> None:
        """Objects that are gone, or all of them where time has begun anew."""
        if time_s < self._time_s:
            self._places.clear()
        self._time_s = time_s
        for track_id in [i for i, place in self._places.items() if time_s - place.seen_s > self._gone_after_s]:
            del self._places[track_id]


@dataclass
class _Place:
    """Where an object was last, and on which side of a line it counts as being."""

    anchor: Point
    side: float
    seen_s: float = 0.0
    crossed_s: float = NEVER_S
    through: bool = False

    def move(self, seen: _Seen, line: list[Point], time_s: float) -> int:
        """Take its next place: +1 or -1 when it has crossed the line, else 0."""
        before, now = side_of(line, self.anchor), side_of(line, seen.anchor)
        if (before > 0) != (now > 0):
            self.through = crosses(line, self.anchor, seen.anchor)
        self.anchor, self.seen_s = seen.anchor, time_s
        if (now > 0) == (self.side > 0) or abs(now) < LINE_MARGIN * seen.height:
            return 0
        self.side = now
        return (1 if now > 0 else -1) if self.through else 0


class OccupancyWatch:
    """Tells when a zone is full, and when it no longer is."""

    def __init__(self, rule: ZoneOccupancy, *, max_gap_s: float) -> None:
        self._rule, self.count = rule, 0
        self._full = Condition(for_s=rule.for_s, cooldown_s=rule.cooldown_s, max_gap_s=max_gap_s)

    def see(self, result: Result) -> list[Event]:
        """`occupancy_began` with the number of objects, or `occupancy_ended` with the seconds that it lasted."""
        zone = in_pixels(self._rule.zone, result.frame.image_bgr.shape)
        self.count = sum(inside(zone, seen.anchor) for seen in _objects(result, self._rule))
        change = self._full.update(self.count >= self._rule.at_least, result.frame.time_s)
        if change is None:
            return []
        if change.active:
            return [make_event(result, self._rule.name, "occupancy_began", value=float(self.count))]
        return [make_event(result, self._rule.name, "occupancy_ended", value=change.lasted_s)]

    def marking(self) -> Marking:
        """The zone and how many are in it."""
        return Marking(self._rule.zone, f"{self._rule.name}  {self.count}", self._full.active)


@dataclass
class _Stay:
    """What is known of an object and a zone: since when the object counts as inside, or None while it is outside."""

    label: str
    seen_s: float
    inside_since_s: float | None = None
    turning_since_s: float | None = None
    told_long: bool = False
    told_s: dict[str, float] = field(default_factory=dict)


class DwellWatch:
    """Tells who enters a zone, leaves it, and stays for long."""

    def __init__(self, rule: ZoneDwell, *, gone_after_s: float) -> None:
        self._rule, self._gone_after_s = rule, gone_after_s
        self._stays: dict[int, _Stay] = {}
        self._time_s = 0.0

    def see(self, result: Result) -> list[Event]:
        """`zone_entered`, `zone_left` and `dwelled`; the value of the last two is the stay in seconds."""
        time_s = result.frame.time_s
        if time_s < self._time_s:
            self._stays.clear()
        self._time_s = time_s
        zone = in_pixels(self._rule.zone, result.frame.image_bgr.shape)
        told = []
        for seen in _objects(result, self._rule):
            stay = self._stays.setdefault(seen.track_id, _Stay(seen.label, time_s))
            stay.seen_s = time_s
            told += [(seen.track_id, *news) for news in self._news(stay, inside(zone, seen.anchor), time_s)]
        gone = {i: stay for i, stay in self._stays.items() if time_s - stay.seen_s > self._gone_after_s}
        for track_id, stay in gone.items():
            if stay.inside_since_s is not None:
                told.append((track_id, "zone_left", stay.seen_s - stay.inside_since_s))
        events = [event for news in told if (event := self._event(result, *news)) is not None]
        self._stays = {i: stay for i, stay in self._stays.items() if i not in gone}
        return events

    def marking(self) -> Marking:
        """The zone, how many are in it, and the longest stay."""
        since = [stay.inside_since_s for stay in self._stays.values() if stay.inside_since_s is not None]
        longest = f"  {self._time_s - min(since):.0f} s" if since else ""
        long = any(stay.told_long for stay in self._stays.values())
        return Marking(self._rule.zone, f"{self._rule.name}  {len(since)}{longest}", long)

    def _news(self, stay: _Stay, is_inside: bool, time_s: float) -> Iterator[tuple[str, float | None]]:
        if is_inside == (stay.inside_since_s is not None):
            stay.turning_since_s = None
        elif stay.turning_since_s is None:
            stay.turning_since_s = time_s
        turned_s = stay.turning_since_s
        if turned_s is not None and time_s - turned_s >= self._rule.for_s:
            stay.turning_since_s = None
            if stay.inside_since_s is None:
                stay.inside_since_s = turned_s
                yield "zone_entered", None
            else:
                yield "zone_left", turned_s - stay.inside_since_s
                stay.inside_since_s, stay.told_long = None, False
        since_s, long_s = stay.inside_since_s, self._rule.longer_than_s
        if since_s is None or long_s is None or stay.told_long or not is_inside:
            return
        if time_s - since_s >= long_s:
            stay.told_long = True
            yield "dwelled", time_s - since_s

    def _event(self, result: Result, track_id: int, kind: str, value: float | None) -> Event | None:
        stay, time_s = self._stays[track_id], result.frame.time_s
        if kind not in self._rule.events or time_s - stay.told_s.get(kind, NEVER_S) < self._rule.cooldown_s:
            return None
        stay.told_s[kind] = time_s
        return make_event(result, self._rule.name, kind, label=stay.label, track_id=track_id, value=value)


def _objects(result: Result, rule: LineCrossing | ZoneOccupancy | ZoneDwell) -> Iterator[_Seen]:
    """The objects of a result that a rule is about.

    Raises:
        SpecError: the prediction holds no tracked objects.
    """
    found = result.prediction
    if not isinstance(found, Detections) or found.track_ids is None:
        raise SpecError(f"rule {rule.name}: found no tracked objects; put a Tracker before the rules")
    heights = found.boxes_xyxy[:, 3] - found.boxes_xyxy[:, 1]
    for i, anchor in enumerate(anchor_points(found, rule.anchor)):
        label = label_name(result.labels, int(found.class_ids[i]))
        if rule.labels is None or label in rule.labels:
            yield _Seen(int(found.track_ids[i]), label, (float(anchor[0]), float(anchor[1])), float(heights[i]))
