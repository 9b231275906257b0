"""Why a frame is worth keeping."""

from __future__ import annotations

from typing import Any

from cvforge_edge.records import dataclass

VALUE_DECIMALS, BOX_DECIMALS = 4, 2
KINDS = ("unsure", "nothing_sure", "flicker", "jump", "outlier")


@dataclass(frozen=True)
class Reason:
    """One reason.

    Attributes:
        kind: one of `KINDS`: `unsure` (low confidence), `nothing_sure` (no answer, one nearly), `flicker` (differs from the
            frames before and after), `jump` (answer changes, picture does not), `outlier` (unlike the reference).
        value: how strongly, 0 to 1; compares frames of one kind.
        text: a sentence for a person.
        label: of the class that it is about, or the quantity of an outlier; None where it is about no one class.
        box_xyxy: x1 y1 x2 y2 where it is, in pixels of the kept picture; None for the whole picture.
    """

    kind: str
    value: float
    text: str
    label: str | None = None
    box_xyxy: tuple[float, float, float, float] | None = None

    def to_value(self) -> dict[str, Any]:
        """Plain values for JSON."""
        box = None if self.box_xyxy is None else [round(side, BOX_DECIMALS) for side in self.box_xyxy]
        return {**vars(self), "value": round(self.value, VALUE_DECIMALS), "box_xyxy": box}
