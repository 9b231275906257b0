"""One export of each task, shared by all tests of this room: converting takes seconds."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from cvforge.export.report import ExportReport
from cvforge_edge.types import Task
from export.tiny import export_tiny, tiny_plan


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Task], ExportReport]:
    """The bundle of a tiny net of a task with every format and precision, made once."""
    reports: dict[Task, ExportReport] = {}

    def export(task: Task) -> ExportReport:
        if task not in reports:
            target = tmp_path_factory.mktemp("bundles") / task.value
            reports[task] = export_tiny(task, target, plan=tiny_plan(task, formats=("onnx", "tflite")))
        return reports[task]

    return export
