"""Watches results for the rules of a rules file, and adds what has happened to them."""

from __future__ import annotations

from dataclasses import replace

from cvforge_edge.frame import Result
from cvforge_edge.rules.images import ClassWatch, LabelWatch, ShareWatch
from cvforge_edge.rules.objects import DwellWatch, LineWatch, OccupancyWatch
from cvforge_edge.rules.rule_types import LabelHeld, LineCrossing, PixelShare, Rule, Rules, ZoneDwell, ZoneOccupancy
from cvforge_edge.rules.watch import Watch
from cvforge_edge.steps.tracking_defaults import KEEP_LOST_S

GONE_AFTER_S = KEEP_LOST_S + 1.0


class RuleEngine:
    """Applies all rules to the results of one source; the last of its steps that changes predictions comes before."""

    def __init__(self, rules: Rules, *, gone_after_s: float = GONE_AFTER_S) -> None:
        """Begin with all counts at zero.

        Args:
            rules: those for this source (`Rules.for_source`).
            gone_after_s: an object that is not seen for longer has left; more than the tracker keeps its id.
        """
        self._draw = rules.draw
        self._watches = [_watch(rule, max_gap_s=rules.max_gap_s, gone_after_s=gone_after_s) for rule in rules.rules]

    def apply(self, result: Result) -> Result:
        """The result with the events of all rules, and what is to be drawn of them.

        Raises:
            SpecError: a rule is about objects and the result has no tracked ones, or about another task.
        """
        events = [event for watch in self._watches for event in watch.see(result)]
        markings = [watch.marking() for watch in self._watches] if self._draw else []
        return replace(
            result,
            events=(*result.events, *events),
            markings=(*result.markings, *(marking for marking in markings if marking is not None)),
        )


def _watch(rule: Rule, *, max_gap_s: float, gone_after_s: float) -> Watch:
    if isinstance(rule, LineCrossing):
        return LineWatch(rule, gone_after_s=gone_after_s)
    if isinstance(rule, ZoneOccupancy):
        return OccupancyWatch(rule, max_gap_s=max_gap_s)
    if isinstance(rule, ZoneDwell):
        return DwellWatch(rule, gone_after_s=gone_after_s)
    if isinstance(rule, LabelHeld):
        return LabelWatch(rule, max_gap_s=max_gap_s)
    if isinstance(rule, PixelShare):
        return ShareWatch(rule, max_gap_s=max_gap_s)
    return ClassWatch(rule, max_gap_s=max_gap_s)
