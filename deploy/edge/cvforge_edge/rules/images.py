"""Rules on whole images: a label that holds, the strongest class that changes, a class that covers much of a zone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from cvforge_edge.errors import SpecError
from cvforge_edge.events import Event
from cvforge_edge.frame import Result
from cvforge_edge.labels import label_name
from cvforge_edge.markings import Marking
from cvforge_edge.rules.condition import NEVER_S, Change, Condition
from cvforge_edge.rules.rule_types import ClassChange, LabelHeld, PixelShare
from cvforge_edge.rules.shapes import in_pixels
from cvforge_edge.rules.watch import make_event
from cvforge_edge.types import ClassScores, SegmentationMap

if TYPE_CHECKING:
    import numpy.typing as npt


class LabelWatch:
    """Tells when an image belongs to a class for some time."""

    def __init__(self, rule: LabelHeld, *, max_gap_s: float) -> None:
        self._rule = rule
        self._held = Condition(for_s=rule.for_s, cooldown_s=rule.cooldown_s, max_gap_s=max_gap_s)

    def see(self, result: Result) -> list[Event]:
        """`label_began` with the score, or `label_ended` with the seconds that it lasted."""
        score = float(_scores(result, self._rule.name).probs[result.labels.index(self._rule.label)])
        change = self._held.update(score >= self._rule.min_score, result.frame.time_s)
        return _told(result, self._rule, change, "label", value=score)

    def marking(self) -> Marking | None:
        """Its name while it holds."""
        return Marking((), self._rule.name, True) if self._held.active else None


class ClassWatch:
    """Tells when the strongest class is another one than before."""

    def __init__(self, rule: ClassChange, *, max_gap_s: float) -> None:
        self._rule, self._max_gap_s = rule, max_gap_s
        self._class_id: int | None = None
        self._candidate: int | None = None
        self._since_s = self._time_s = 0.0
        self._changed_s = NEVER_S

    def see(self, result: Result) -> list[Event]:
        """`class_changed` with the new class as label and its score; the first class of a source is no change."""
        rule, time_s = self._rule, result.frame.time_s
        class_id, score = _scores(result, rule.name).top(1)[0]
        if score < rule.min_score:
            class_id = self._class_id if self._class_id is not None else -1
        if class_id != self._candidate or not 0 <= time_s - self._time_s <= self._max_gap_s:
            self._candidate, self._since_s = class_id, time_s
        self._changed_s = NEVER_S if time_s < self._time_s else self._changed_s
        self._time_s = time_s
        if class_id in (self._class_id, -1) or time_s - self._since_s < rule.for_s:
            return []
        if time_s - self._changed_s < rule.cooldown_s:
            return []
        first, self._class_id = self._class_id is None, class_id
        if first:
            return []
        self._changed_s = time_s
        return [make_event(result, rule.name, "class_changed", label=label_name(result.labels, class_id), value=score)]

    def marking(self) -> Marking | None:
        """Nothing: the classes are in the picture already."""
        return None


class ShareWatch:
    """Tells when a class covers much of a zone."""

    def __init__(self, rule: PixelShare, *, max_gap_s: float) -> None:
        self._rule, self._share = rule, 0.0
        self._much = Condition(for_s=rule.for_s, cooldown_s=rule.cooldown_s, max_gap_s=max_gap_s)
        self._mask: npt.NDArray[np.uint8] = np.zeros((0, 0), np.uint8)

    def see(self, result: Result) -> list[Event]:
        """`share_began` with the share, or `share_ended` with the seconds that it lasted."""
        if not isinstance(result.prediction, SegmentationMap):
            raise SpecError(
                f"rule {self._rule.name}: found {type(result.prediction).__name__}, accepted SegmentationMap"
            )
        class_map = result.prediction.class_map
        if self._mask.shape != class_map.shape:
            self._mask = _zone_mask(self._rule, class_map.shape)
        pixels = class_map[self._mask > 0]
        share = float((pixels == result.labels.index(self._rule.label)).mean()) if pixels.size else 0.0
        self._share = share
        change = self._much.update(share > self._rule.above, result.frame.time_s)
        return _told(result, self._rule, change, "share", value=share)

    def marking(self) -> Marking:
        """The zone and the share."""
        text = f"{self._rule.name}  {self._share:.0%}"
        return Marking(self._rule.zone or (), text, self._much.active)


def _scores(result: Result, rule: str) -> ClassScores:
    if not isinstance(result.prediction, ClassScores):
        raise SpecError(f"rule {rule}: found {type(result.prediction).__name__}, accepted ClassScores")
    return result.prediction


def _told(
    result: Result, rule: LabelHeld | PixelShare, change: Change | None, kind: str, *, value: float
) -> list[Event]:
    if change is None:
        return []
    if change.active:
        return [make_event(result, rule.name, f"{kind}_began", label=rule.label, value=value)]
    return [make_event(result, rule.name, f"{kind}_ended", label=rule.label, value=change.lasted_s)]


def _zone_mask(rule: PixelShare, image_hw: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    if rule.zone is None:
        return np.ones(image_hw, np.uint8)
    mask = np.zeros(image_hw, np.uint8)
    corners = np.floor(np.array(in_pixels(rule.zone, image_hw))).astype(np.int32)
    cv2.fillPoly(mask, [corners], 1)
    return mask
