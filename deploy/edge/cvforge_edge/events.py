"""Something that happened in front of a camera, as rules on its results found it."""

from __future__ import annotations

from typing import Any

from cvforge_edge.records import dataclass

TIME_DECIMALS = 3
EVENT_LEVEL = 25
"""Of a line about an event in the log: above what is only information, below a warning."""


@dataclass(frozen=True)
class Event:
    """One thing that happened.

    Attributes:
        rule: name of the rule that found it, from the rules file.
        kind: what happened, such as `line_crossed`, `zone_entered`, `zone_left`, `dwelled` or `class_changed`.
        source: name of the camera or file.
        frame: number of the picture in its source.
        time_s: position in the clip, or seconds since the camera was opened.
        unix_time_s: seconds since 1970; None for files.
        label: name of the object's class, or of the image's; None where a rule is about no class.
        track_id: of the object; None where there is none.
        value: what the kind counts or measures (seconds in a zone, +1 or -1 across a line); None where it has none.
    """

    rule: str
    kind: str
    source: str
    frame: int
    time_s: float
    unix_time_s: float | None
    label: str | None = None
    track_id: int | None = None
    value: float | None = None

    def to_value(self) -> dict[str, Any]:
        """Plain values for JSON; the same keys in every event."""
        rounded = {
            name: None if seconds is None else round(seconds, TIME_DECIMALS)
            for name, seconds in (("time_s", self.time_s), ("unix_time_s", self.unix_time_s))
        }
        return {**vars(self), **rounded}
