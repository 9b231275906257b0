"""Training of image classifiers."""

from __future__ import annotations

from typing import ClassVar

from cvforge.tasks.base import SupervisedTask
from cvforge_edge.types import Task


class ClassificationTask(SupervisedTask):
    """Targets are class ids (b,), or probabilities (b, c) where images were mixed; the loss takes both."""

    task: ClassVar[Task] = Task.CLASSIFICATION
    headline: ClassVar[tuple[str, ...]] = ("top5",)
