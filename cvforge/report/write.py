"""Writes the report of a run: the page for people, and its numbers for `tools/compare.py` and other programs."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from torch import nn

from cvforge.config import build
from cvforge.config.load import resolved_yaml
from cvforge.config.schema import Config
from cvforge.data.types import Dataset
from cvforge.environment import without_secrets
from cvforge.errors import StorageError
from cvforge.history import read_history
from cvforge.html.chart import Chart
from cvforge.metrics.records import BoxRecord, ClassRecord, PixelRecord, Records
from cvforge.report.classification import classification_figures
from cvforge.report.costs import Costs, measure_costs
from cvforge.report.detection import detection_figures
from cvforge.report.figures import Figures
from cvforge.report.history import history_charts
from cvforge.report.origin import find_origin
from cvforge.report.page import RunRecord, run_page
from cvforge.report.pictures import Extremes, extreme_images
from cvforge.report.segmentation import segmentation_figures
from cvforge.runs import Run
from cvforge_edge.types import Prediction, Task

SCHEMA = 1


@dataclass(frozen=True)
class Validated:
    """A checkpoint and what a validation of it saw.

    Attributes:
        net: with the weights to use.
        predict: (h, w, 3) uint8 BGR -> prediction, with the thresholds of use.
        dataset: the validation set.
        records: of its images, or of a part of them.
        scores: of the same images.
        primary: the score that chose the checkpoint.
    """

    net: nn.Module
    predict: Callable[[npt.NDArray[np.uint8]], Prediction]
    dataset: Dataset
    records: Records
    scores: dict[str, float]
    primary: str


@dataclass(frozen=True)
class Report:
    """A report that was written.

    Attributes:
        page: the HTML file.
        values: the JSON file.
        history: charts by epoch.
        figures: of the validation.
        images: best and worst.
        costs: of the net.
    """

    page: Path
    values: Path
    history: tuple[Chart, ...]
    figures: Figures
    images: Extremes
    costs: Costs


def write_report(run: Run, config: Config, validated: Validated) -> Report:
    """Write `report.html` and `report.json` into a run's folder.

    Args:
        run: with its records; `metrics.json` may be missing when it has not finished.
        config: of the run.
        validated: its best checkpoint.

    Raises:
        CheckpointError: the run's records are damaged.
        StorageError: the files cannot be written.
    """
    record = _record(run, config, validated)
    labels = record.labels
    figures = make_figures(config, validated, labels=labels)
    history = history_charts(
        read_history(run.history), primary=validated.primary, total_steps=record.summary.get("steps")
    )
    images = extreme_images(validated.dataset, figures, validated.predict, labels=labels)
    first, _ = build.build_preprocess(config).apply(validated.dataset[0].image_bgr)
    costs = measure_costs(validated.net, first, checkpoint=run.best_checkpoint)
    scored = len(validated.records)
    page = run_page(record, figures, history=history, images=images, costs=costs, scored_images=scored)
    values = {
        "schema": SCHEMA,
        "task": config.task,
        "primary": validated.primary,
        "images": scored,
        "costs": asdict(costs),
        "figures": figures.as_values(),
        "worst": {image.image_id: round(image.score, 6) for image in images.worst},
        "best": {image.image_id: round(image.score, 6) for image in images.best},
    }
    _write(run.report, page)
    _write(run.report_values, json.dumps(values) + "\n")
    return Report(run.report, run.report_values, history, figures, images, costs)


def make_figures(config: Config, validated: Validated, *, labels: tuple[str, ...]) -> Figures:
    """The figures that suit the task."""
    records, task = validated.records, Task(config.task)
    if task is Task.DETECTION:
        return detection_figures(
            cast("dict[str, BoxRecord]", records),
            labels,
            scores=validated.scores,
            score_threshold=config.postprocess.score_threshold,
        )
    if task is Task.CLASSIFICATION:
        return classification_figures(cast("dict[str, ClassRecord]", records), labels)
    return segmentation_figures(cast("dict[str, PixelRecord]", records), labels)


def _record(run: Run, config: Config, validated: Validated) -> RunRecord:
    environment = _json(run.environment)
    height, width = config.preprocess.size_hw
    return RunRecord(
        name=run.dir.name,
        task=config.task,
        primary=validated.primary,
        summary=_json(run.metrics) or {"val": validated.scores},
        sizes=run.sizes,
        fingerprints=run.fingerprints,
        environment=environment,
        config_yaml=without_secrets(resolved_yaml(config)),
        origin=find_origin(config, environment.get("command") or []),
        input_hw=(height, width),
        labels=run.labels,
    )


def _json(path: Path) -> dict[str, Any]:
    """What a file of the run says; nothing where it is not there."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _write(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise StorageError(
            f"{path}: the report cannot be written ({error}); free space, then tools/report.py"
        ) from error
