"""Scores a run or a bundle on a split, and says the same about both."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from cvforge.commands.model import OpenedModel, data_config, matching_dataset
from cvforge.commands.terminal import stage_bars
from cvforge.config import build
from cvforge.data.coco import CocoDetection
from cvforge.errors import ConfigError
from cvforge.evaluation import Metric, evaluate, spread_indices


@dataclass(frozen=True)
class Evaluation:
    """A score and what it is of.

    Attributes:
        model: name of the run or bundle.
        split: part of the data.
        images: how many were scored.
        data_fingerprint: of the whole split.
        primary: name in `metrics` that models are compared by.
        metrics: name -> value.
    """

    model: str
    split: str
    images: int
    data_fingerprint: str
    primary: str
    metrics: dict[str, float]

    def as_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        return asdict(self)


def evaluate_model(
    model: OpenedModel,
    *,
    split: str,
    config: str | None = None,
    run: Path | None = None,
    overrides: Sequence[str] = (),
    limit: int | None = None,
    detections: Path | None = None,
) -> Evaluation:
    """Score a model with progress on the terminal.

    Args:
        model: from `open_model`.
        split: `val`, `test` or `train`.
        config: name or path of the config that says which data, for a bundle.
        run: a run that says which data, for a bundle.
        overrides: `data.root=/path` and the like.
        limit: score only so many images.
        detections: file for what was found, in COCO's result format; only for data in COCO JSON.
    """
    chosen = data_config(model, config=config, run=run, overrides=overrides)
    manifest = model.predictor.manifest
    dataset = matching_dataset(chosen, split, task=manifest.task, labels=manifest.labels)
    if detections is not None and not isinstance(dataset, CocoDetection):
        raise ConfigError(f"--detections: data.{split} is {type(dataset).__name__}, accepted CocoDetection: COCO's ids")
    metric = _Recorder(build.build_metric(chosen, manifest.labels))
    # The kind belongs to the model, the thresholds to the data: an imported detector may need no suppression.
    thresholds = replace(build.build_evaluation_postprocess(chosen), kind=manifest.postprocess.kind)
    predictor = model.predictor.with_postprocess(thresholds)
    with stage_bars() as stages:
        metrics = evaluate(predictor, dataset, metric, progress=stages(f"score {model.name} on {split}"), limit=limit)
    if detections is not None:
        detections.write_text(json.dumps(dataset.results(metric.predictions)), encoding="utf-8")
    return Evaluation(
        model=model.name,
        split=split,
        images=len(spread_indices(len(dataset), limit)),
        data_fingerprint=dataset.fingerprint(),
        primary=metric.primary,
        metrics=metrics,
    )


class _Recorder:
    """A metric that also remembers what it was told.

    Attributes:
        predictions: image id -> what the model said.
    """

    def __init__(self, metric: Metric) -> None:
        self._metric = metric
        self.primary = metric.primary
        self.predictions: dict[str, Any] = {}

    def update(self, prediction: Any, truth: Any, image_id: str) -> None:
        self.predictions[image_id] = prediction
        self._metric.update(prediction, truth, image_id)

    def compute(self) -> dict[str, float]:
        return self._metric.compute()

    def reset(self) -> None:
        self.predictions = {}
        self._metric.reset()
