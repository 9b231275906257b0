"""What the checkpoint says and scores, measured once: every exported file is held against it."""

from __future__ import annotations

from dataclasses import replace

from cvforge.evaluation import spread_indices
from cvforge.export.parity import collect_raw_outputs
from cvforge.export.reference import ClassEvidence, EvidenceMetric, StatisticsPredictor
from cvforge.export.stages import Stages
from cvforge.export.verify import Reference, Scoring
from cvforge.latency import median_latency_ms
from cvforge_edge.predictor import Predictor

PARITY_IMAGES = 16


def measure_checkpoint(checkpoint: Predictor, scoring: Scoring, *, stages: Stages) -> Reference:
    """Scores where there is truth; statistics for devices, raw outputs and latency in any case.

    Args:
        checkpoint: with the thresholds of use.
        scoring: images, and how they are scored.
        stages: shows progress.
    """
    dataset = scoring.dataset
    noting = StatisticsPredictor(checkpoint, scoring.postprocess)
    metrics, evidence = _pass_over_images(noting, scoring, classes=len(checkpoint.manifest.labels), stages=stages)
    preprocess = checkpoint.manifest.preprocess
    inputs = [preprocess.apply(dataset[i].image_bgr)[0] for i in spread_indices(len(dataset), PARITY_IMAGES)]
    return Reference(
        inputs_u8=inputs,
        raw_outputs=collect_raw_outputs(checkpoint, inputs),
        metrics=metrics,
        primary=scoring.metric.primary if scoring.metric is not None else None,
        latency_ms=median_latency_ms(checkpoint.backend, inputs[0][None]),
        resamples=scoring.resamples(),
        statistics=noting.statistics,
        evidence=evidence,
        answers=noting.answers,
    )


def _pass_over_images(
    noting: StatisticsPredictor, scoring: Scoring, *, classes: int, stages: Stages
) -> tuple[dict[str, float], ClassEvidence | None]:
    if scoring.metric is None:
        return scoring.score(noting, progress=stages("run the network on the images")), None
    metric = EvidenceMetric(scoring.metric, classes)
    metrics = replace(scoring, metric=metric).score(noting, progress=stages("score the checkpoint"))
    return metrics, metric.evidence
