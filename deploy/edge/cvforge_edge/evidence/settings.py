"""What is kept as evidence, how much of it, and what of a picture may be stored."""

from __future__ import annotations

from pathlib import Path

from cvforge_edge.errors import UsageError
from cvforge_edge.records import dataclass

PICTURES = ("original", "blurred", "none")
PICTURE_FORMATS = ("jpg", "png")
MB = 1_000_000


@dataclass(frozen=True)
class EvidenceSettings:
    """Settings of one run.

    Attributes:
        folder: where the evidence lies.
        pictures: `original`; `blurred` (objects of people-like classes, or the whole picture); or `none`: JSON alone.
        picture_format: `jpg` (quality 95), or `png` (every pixel, about five times as large).
        blur_labels: classes to blur in place of the people-like ones.
        max_frames: so many hard frames at most.
        max_bytes: of all files of hard frames together.
        min_free_bytes: no hard frame is stored while the disk has less room than this.
        sample_every_s: each camera is measured so often; disagreement between frames is looked for in every frame.
        apart_s: of each camera, the hardest frame of so many seconds at most.
    """

    folder: Path
    pictures: str = "original"
    picture_format: str = "jpg"
    blur_labels: tuple[str, ...] = ()
    max_frames: int = 1000
    max_bytes: int = 500 * MB
    min_free_bytes: int = 500 * MB
    sample_every_s: float = 0.5
    apart_s: float = 10.0

    def __post_init__(self) -> None:
        problems = [
            f"{name}: found {value!r}, accepted {', '.join(accepted)}"
            for name, value, accepted in (
                ("pictures", self.pictures, PICTURES),
                ("picture_format", self.picture_format, PICTURE_FORMATS),
            )
            if value not in accepted
        ]
        lowest = {"max_frames": 1, "max_bytes": 1, "min_free_bytes": 0, "sample_every_s": 0.0, "apart_s": 0.0}
        problems += [
            f"{name}: found {getattr(self, name)!r}, accepted at least {low:g}"
            for name, low in lowest.items()
            if not getattr(self, name) >= low
        ]
        if self.blur_labels and self.pictures != "blurred":
            problems.append("blur_labels: belong to pictures 'blurred'")
        if problems:
            raise UsageError("evidence: " + "; ".join(problems))
