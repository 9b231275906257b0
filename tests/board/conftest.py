"""Two emulated boards, and bundles for them: a network that was trained for a minute, and a tiny one that finds boxes."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from arm_board import Board, obstacle, set_up_board
from cvforge.commands.export import ExportRequest, export_run
from cvforge.config.load import load
from cvforge.fit import fit
from cvforge_edge.types import Task
from export.tiny import export_tiny, tiny_calibration, tiny_plan

PRECISIONS = ("fp32", "fp16", "int8")
SHORT_TRAINING = (
    "data.train.count=320",
    "data.val.count=60",
    "trainer.max_epochs=1",
    "trainer.threads=1",
    "trainer.progress=false",
)
LOOSE_INT8 = "export.metric_budget.int8=0.1"  # one of 60 images is more than the usual 0.01


@pytest.fixture(scope="session")
def tools() -> None:
    """Skips what cannot be done here, and says why."""
    reason = obstacle()
    if reason is not None:
        pytest.skip(reason)


def a_board(folder: Path, requirements: str) -> Iterator[Board]:
    board = set_up_board(folder, requirements)
    yield board
    shutil.rmtree(folder / ".venv")  # 200 MB that pytest would keep


@pytest.fixture(scope="session")
def board(tools: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Board]:
    """With ai-edge-litert."""
    yield from a_board(tmp_path_factory.mktemp("board") / "edge", "requirements.txt")


@pytest.fixture(scope="session")
def numpy1_board(tools: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Board]:
    """With tflite-runtime and numpy 1."""
    yield from a_board(tmp_path_factory.mktemp("board") / "edge", "requirements-tflite-runtime.txt")


@pytest.fixture(scope="session")
def shapes(tools: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of `cls_demo` after 20 steps, all layers of its int8 file in int8."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("shapes")
    fit(load("cls_demo.yaml", list(SHORT_TRAINING)), run_dir=folder / "run")
    request = ExportRequest(
        folder / "run",
        formats=("tflite",),
        precisions=PRECISIONS,
        output=folder / "bundle",
        measure=False,
        overrides=(LOOSE_INT8,),
    )
    report, _ = export_run(request)
    assert report.manifest.provenance["int8"]["float_layers"] == {"model_int8.tflite": []}
    return report.folder


@pytest.fixture(scope="session")
def cells(tools: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of a tiny detector."""
    torch.set_num_threads(1)
    plan = tiny_plan(
        Task.DETECTION,
        formats=("tflite",),
        precisions=PRECISIONS,
        metric_budget={"fp32": 0.001, "fp16": 0.002, "int8": 0.1},
        tensor_tolerance={"fp32": 1e-3, "fp16": 2e-2, "int8": 0.5},
    )
    calibration = tiny_calibration(Task.DETECTION)
    return export_tiny(
        Task.DETECTION, tmp_path_factory.mktemp("cells") / "bundle", plan=plan, calibration=calibration
    ).folder
