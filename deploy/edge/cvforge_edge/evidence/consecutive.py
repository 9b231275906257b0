"""Holds the last frames of a camera side by side and names those whose answers do not fit together."""

from __future__ import annotations

from collections import deque

from cvforge_edge.evidence.disagreement import answer_distance, flicker_reasons
from cvforge_edge.evidence.reason import Reason
from cvforge_edge.evidence.seen import Seen, thumbnail_change
from cvforge_edge.types import Detections

LONGEST_GAP_S = 0.3
"""Frames further apart show other things with good reason."""
SAME_VIEW = 12.0
"""Grey levels that a thumbnail may change by from frame to frame where the camera shows one view."""
STILL_VIEW = 2.0
"""Likewise, where next to nothing moves."""
JUMP = {"detection": 0.5, "classification": 0.5, "segmentation": 0.2}
MIN_OBJECTS = 3
"""Of fewer objects one that enters the picture is half of the answer."""


class Consecutive:
    """The last three frames of one camera.

    Args:
        labels: of the model.
    """

    def __init__(self, labels: tuple[str, ...]) -> None:
        self._labels = labels
        self._last: deque[Seen] = deque(maxlen=3)

    def add(self, seen: Seen) -> list[tuple[Seen, list[Reason]]]:
        """Take in the next frame; the hard frames that are known now, which are this one and the one before."""
        if self._last and not _follows(self._last[-1], seen):
            self._last.clear()
        self._last.append(seen)
        found = []
        if len(self._last) == 3:
            before, middle, after = self._last
            reasons = flicker_reasons(
                before.glance.prediction,
                middle.glance.prediction,
                after.glance.prediction,
                labels=self._labels,
                score_threshold=middle.glance.spec.score_threshold,
            )
            if reasons and _change(before, middle) <= SAME_VIEW and _change(middle, after) <= SAME_VIEW:
                found.append((middle, reasons))
        if len(self._last) >= 2:
            reasons = _jump(self._last[-2], seen)
            if reasons:
                found.append((seen, reasons))
        return found


def _follows(before: Seen, seen: Seen) -> bool:
    same_size = before.glance.image_bgr.shape == seen.glance.image_bgr.shape
    return same_size and 0 <= seen.frame.time_s - before.frame.time_s <= LONGEST_GAP_S


def _change(a: Seen, b: Seen) -> float:
    return thumbnail_change(a.thumbnail, b.thumbnail)


def _jump(before: Seen, seen: Seen) -> list[Reason]:
    old, new = before.glance.prediction, seen.glance.prediction
    if isinstance(old, Detections) and isinstance(new, Detections) and max(len(old), len(new)) < MIN_OBJECTS:
        return []
    distance = answer_distance(old, new)
    if distance < JUMP[seen.glance.spec.task.value] or _change(before, seen) > STILL_VIEW:
        return []
    text = f"the answer differs by {distance:.0%} from that for the frame before, the picture hardly"
    return [Reason("jump", distance, text)]
