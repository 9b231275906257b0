"""What a device and this machine answer to the same images, and whether that is the same."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from arm_board import EDGE
from cvforge_edge.golden import Golden, Tolerance, read_golden
from cvforge_edge.manifest import read_manifest
from cvforge_edge.match import prediction_problems
from cvforge_edge.types import ClassScores, Detections, Prediction

RUN_LIMIT_S = 300


def run_here(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """`python3 run_camera.py ARGUMENTS` on this machine."""
    return subprocess.run(
        [sys.executable, str(EDGE / "run_camera.py"), *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(EDGE)},
        capture_output=True,
        text=True,
        timeout=RUN_LIMIT_S,
        check=False,
    )


def golden_of(bundle: Path) -> Golden:
    return read_golden(bundle / "golden", task=read_manifest(bundle).task)


def golden_photos(bundle: Path, folder: Path) -> Path:
    """A new folder with the golden images alone."""
    folder.mkdir()
    for picture in (bundle / "golden").glob("*.png"):
        shutil.copy(picture, folder)
    return folder


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def differences(found: Path, expected: Path, *, bundle: Path, tolerance: Tolerance) -> list[str]:
    """How two files of `--json` differ by more than the bundle accepts."""
    threshold = read_manifest(bundle).postprocess.score_threshold
    pairs = list(zip(read_lines(found), read_lines(expected), strict=True))
    assert pairs
    return [
        problem
        for one, other in pairs
        for problem in prediction_problems(prediction(one), prediction(other), tolerance, score_threshold=threshold)
    ]


def prediction(record: dict[str, Any]) -> Prediction:
    """The prediction in a line of `--json`: all classes of up to five, or all boxes."""
    if "classes" in record:
        by_number = sorted(record["classes"], key=lambda row: row["class_id"])
        return ClassScores(np.array([row["score"] for row in by_number], np.float32))
    rows = record["detections"]
    return Detections(
        np.array([row["box_xyxy"] for row in rows], np.float32).reshape(-1, 4),
        np.array([row["score"] for row in rows], np.float32),
        np.array([row["class_id"] for row in rows], np.int64),
    )
