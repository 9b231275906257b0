"""How far a device may be from the golden vectors of a bundle."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from cvforge_edge.errors import SpecError
from cvforge_edge.manifest import PRECISIONS
from cvforge_edge.records import dataclass
from cvforge_edge.strict_json import Fields

OPTIONAL = ("embedding",)
"""Numbers that are not in every bundle."""


@dataclass(frozen=True)
class Tolerance:
    """How far a device may be from the golden vectors with models of one precision.

    Attributes:
        input_steps: largest difference of a prepared pixel, in grey levels; image libraries round differently.
        output_max: largest error of a raw output, as a fraction of the range (highest minus lowest) of that output.
        output_mean: mean error of a raw output, as a fraction of its range.
        score: largest difference of a score or probability, absolute.
        box_iou: lowest overlap of a box with its partner.
        unmatched: fraction of detections without partner, or of pixels of another class, that is accepted.
        embedding: largest error of the embedding, as a fraction of its range, in place of `output_max` and `output_mean`: int8
            changes features far more than boxes and scores, and those shall be held to their own. None: to the same.
    """

    input_steps: int = 1
    output_max: float = 1e-3
    output_mean: float = 2e-4
    score: float = 5e-3
    box_iou: float = 0.95
    unmatched: float = 0.0
    embedding: float | None = None

    def __post_init__(self) -> None:
        problems = [
            f"{name}: found {value!r}, accepted numbers in 0..{limit}"
            for name, value in self.to_value().items()
            for limit in [255 if name == "input_steps" else 1]
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= limit
        ]
        if problems:
            raise SpecError("; ".join(problems))

    def to_value(self) -> dict[str, Any]:
        """Plain values for JSON; `embedding` only where there is one."""
        return {name: value for name, value in vars(self).items() if value is not None or name not in OPTIONAL}


def read_tolerances(table: Fields | None) -> dict[str, Tolerance]:
    """Precision -> tolerance of JSON fields; problems are noted in `table`, and what has one is left out."""
    tolerances = {}
    for precision in PRECISIONS:
        entry = table.object(precision) if table is not None and table.has(precision) else None
        if entry is None:
            continue
        names = [field.name for field in fields(Tolerance) if field.name not in OPTIONAL or entry.has(field.name)]
        numbers: dict[str, Any] = {name: entry.number(name) for name in names}
        entry.finish()
        if None not in numbers.values():
            try:
                tolerances[precision] = Tolerance(**numbers)
            except SpecError as error:
                entry.problem(f"{entry.path('')}{error}")
    if table is not None:
        table.finish()
    return tolerances
