"""Training of object detectors."""

from __future__ import annotations

from typing import ClassVar

from cvforge.tasks.base import SupervisedTask
from cvforge_edge.types import Task


class DetectionTask(SupervisedTask):
    """Targets are `BoxTargets` in input pixels; scoring keeps nearly all candidates, as average precision wants."""

    task: ClassVar[Task] = Task.DETECTION
    headline: ClassVar[tuple[str, ...]] = ("map50",)
