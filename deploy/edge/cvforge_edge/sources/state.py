"""What a camera is doing, as a table: which state follows when a frame comes, when none comes, and after a loss.

| state | a frame comes | silent for `stall_after_s` | connection gone | given up or closed |
|---|---|---|---|---|
| `connecting`: no frame yet | `live` | | | `closed` |
| `live`: frames come | | `stalled` | `lost` | `closed` |
| `stalled`: connected, but no frame comes | `live` | | `lost` | `closed` |
| `lost`: connected again and again | `live`, a reconnect | | | `closed` |
| `closed`: for good | | | | |

Where a cell is empty, the state stays as it is. Only a frame makes a camera `live`: a connection that gives none does not.
"""

from __future__ import annotations

from typing import Literal

from cvforge_edge.records import dataclass

State = Literal["connecting", "live", "stalled", "lost", "closed"]
Happening = Literal["frame", "silence", "loss", "close"]

TRANSITIONS: dict[tuple[State, Happening], State] = {
    ("connecting", "frame"): "live",
    ("stalled", "frame"): "live",
    ("lost", "frame"): "live",
    ("live", "silence"): "stalled",
    ("live", "loss"): "lost",
    ("stalled", "loss"): "lost",
    ("connecting", "close"): "closed",
    ("live", "close"): "closed",
    ("stalled", "close"): "closed",
    ("lost", "close"): "closed",
}


@dataclass
class CameraState:
    """The state of one camera; its owner calls it under a lock.

    Attributes:
        name: the state.
        since_s: `time.monotonic()` at its beginning.
        reconnects: how often a lost connection came back.
    """

    since_s: float
    name: State = "connecting"
    reconnects: int = 0

    def note(self, happening: Happening, *, now_s: float) -> State | None:
        """Follow the table; the state that was left, or None where nothing changed."""
        before = self.name
        after = TRANSITIONS.get((before, happening))
        if after is None:
            return None
        self.reconnects += (before, happening) == ("lost", "frame")
        self.name, self.since_s = after, now_s
        return before
