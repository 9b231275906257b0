"""Training of semantic segmentation."""

from __future__ import annotations

from typing import ClassVar

from cvforge.tasks.base import SupervisedTask
from cvforge_edge.types import Task


class SegmentationTask(SupervisedTask):
    """Targets are class maps (b, h, w) with 255 for void; scoring is at the size of each original image."""

    task: ClassVar[Task] = Task.SEGMENTATION
    headline: ClassVar[tuple[str, ...]] = ("pixel_accuracy",)
