"""Folders of pictures and jobs for them, without a cluster: parts are made in this process."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from pyarrow import parquet

from cvforge_server.bulk import command
from cvforge_server.bulk.command import BulkRequest
from cvforge_server.bulk.folder import Plan, locked_folder, plan_parts
from cvforge_server.bulk.job import BulkJob
from cvforge_server.bulk.worker import Worker
from edge.conftest import two_squares


def make_photos(folder: Path, names: Sequence[str]) -> Path:
    """Pictures with two squares, each shifted by its own number of pixels, below a folder."""
    for shift, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        ok, data = cv2.imencode(path.suffix, np.roll(two_squares(), shift, axis=1))
        assert ok
        path.write_bytes(data.tobytes())
    return folder


def job_for(bundle: Path, source: Path | str, output: Path, **options: Any) -> BulkJob:
    """The job of a request, as `tools/predict.py --ray` makes it."""
    return command._job(BulkRequest(bundle, str(source), output, **options))


def plan(job: BulkJob, *, part_images: int | None = 2, workers: int = 1) -> Plan:
    """What there is to do, from a locked folder."""
    with locked_folder(Path(job.output), job.settings):
        return plan_parts(job, workers=workers, part_images=part_images)


def run_here(job: BulkJob, *, part_images: int | None = 2, most_parts: int | None = None) -> Counter[str]:
    """Make what is missing, or as many parts of it; how many images of them have each status."""
    worker, statuses = Worker(job), Counter[str]()
    try:
        for name in plan(job, part_images=part_images).pending[:most_parts]:
            statuses.update(worker.make_part(name).statuses)
    finally:
        worker.close()
    return statuses


def rows(output: Path) -> list[dict[str, Any]]:
    """Every row of the parts, in the order of their names, read one file at a time."""
    files = sorted((output / "parts").glob("*.parquet"))
    return [row for file in files for row in parquet.ParquetFile(file).read().to_pylist()]


def names_of(output: Path, source: Path) -> list[str]:
    """Which images the rows are about, relative to the source."""
    return [Path(row["path"]).relative_to(source).as_posix() for row in rows(output)]
