"""Writes the report of a run anew: a run of before there were reports, or one that was stopped."""

from __future__ import annotations

from pathlib import Path

from cvforge.commands.model import OpenedModel, matching_dataset, open_model, require_run, run_config
from cvforge.commands.terminal import stage_bars
from cvforge.config import build
from cvforge.errors import DataError
from cvforge.evaluation import evaluate
from cvforge.metrics.records import RecordingMetric
from cvforge.report.write import Report, Validated, write_report
from cvforge.runs import Run


def report_run(path: Path, *, overrides: list[str], limit: int | None) -> Report:
    """Score the best checkpoint of a run once more, image by image, and write its report.

    Args:
        path: of the run.
        overrides: changes to where data are: `data.root=/path`.
        limit: score only so many validation images, spread evenly.

    Raises:
        ConfigError: there is no run.
        CheckpointError: it has no checkpoint yet.
        DataError: the validation data are not those of the run.
    """
    run = require_run(path)
    model = open_model(run.dir)
    with model.predictor:
        return write_report(run, run_config(run, overrides), _validated(model, run, overrides, limit))


def _validated(model: OpenedModel, run: Run, overrides: list[str], limit: int | None) -> Validated:
    config = run_config(run, overrides)
    manifest = model.predictor.manifest
    dataset = matching_dataset(config, "val", task=manifest.task, labels=manifest.labels)
    _check_same_data(run, dataset.fingerprint())
    metric = RecordingMetric(build.build_metric(config, manifest.labels))
    predictor = model.predictor.with_postprocess(build.build_evaluation_postprocess(config))
    with stage_bars() as stages:
        progress = stages(f"score {model.name} on val")
        scores = evaluate(predictor, dataset, metric, progress=progress, limit=limit)
    assert metric.latest is not None
    return Validated(
        net=build.load_net(run, config=config),
        predict=model.predictor.predict,
        dataset=dataset,
        records=metric.latest,
        scores=scores,
        primary=metric.primary,
    )


def _check_same_data(run: Run, found: str) -> None:
    expected = run.fingerprints.get("val", found)
    if found != expected:
        raise DataError(
            f"data.val: its fingerprint is {found}, but the run was validated on {expected}; give the run's own data with "
            "data.root=/path, or score it on others with tools/evaluate.py"
        )
