"""From a trained network to a verified bundle, or to an error and nothing at all."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from torch import nn

from cvforge.evaluation import evaluate, spread_indices
from cvforge.export.folder import whole_folder
from cvforge.export.formats import FORMATS, PRECISIONS
from cvforge.export.golden import choose_golden
from cvforge.export.latency import median_latency_ms
from cvforge.export.measurements import write_measurements
from cvforge.export.model_card import model_card
from cvforge.export.parity import collect_raw_outputs
from cvforge.export.plan import ExportPlan
from cvforge.export.reference import EvidenceMetric, StatisticsPredictor
from cvforge.export.sign import SigningKey, sign_bundle
from cvforge.export.torch_backend import TorchBackend
from cvforge.export.verify import Reference, Scoring, Verdict, judge, require_budget
from cvforge.export.wrap import trace
from cvforge_edge.backends import open_backend
from cvforge_edge.bundle import describe_file, describe_model, open_bundle, open_bundle_to_sign
from cvforge_edge.golden import GOLDEN_FOLDER, write_golden
from cvforge_edge.interval import ScoreInterval
from cvforge_edge.manifest import CHECKPOINT, Manifest, MetricEntry, ModelFile, write_manifest
from cvforge_edge.predictor import Predictor
from cvforge_edge.selftest import run_self_test

PARITY_IMAGES = 16
MODEL_CARD_NAME = "model_card.md"
FILE_MODE = 0o644  # one of the converters marks its files as programs


class Stages(Protocol):
    """Told what is going on, so that a user sees progress."""

    def __call__(self, title: str) -> Callable[[int, int], None]:
        """A new stage begins; the result is told how many of how many steps are done, or never called."""


@dataclass(frozen=True)
class ExportReport:
    """A bundle that was written, and what was measured on the way.

    Attributes:
        folder: of the bundle.
        manifest: of the bundle.
        reference: the checkpoint.
        verdicts: one a model file.
    """

    folder: Path
    manifest: Manifest
    reference: Reference
    verdicts: tuple[Verdict, ...]


def export_bundle(
    net: nn.Module,
    scoring: Scoring,
    plan: ExportPlan,
    *,
    target: Path,
    replace_existing: bool,
    stages: Stages,
    keys: Sequence[SigningKey] = (),
) -> ExportReport:
    """Convert a network, hold every file against the checkpoint, and write the bundle whole or not at all.

    Args:
        net: the trained network of the contract.
        scoring: validation images, metric and thresholds.
        plan: what to make.
        target: the bundle's folder.
        replace_existing: whether a bundle that is there already may be replaced.
        stages: shows progress.
        keys: sign the bundle, as the last step before it gets its name; empty for an unsigned one.

    Raises:
        ExportError: the network cannot be converted.
        ExportBudgetError: a file loses more than it may.
        RunExistsError, ConfigError, StorageError: the folder is taken or cannot be written.
    """
    with whole_folder(target, replace=replace_existing) as draft, contextlib.ExitStack() as stack:
        models = _convert(net, plan, draft, stages=stages)
        checkpoint = Predictor(TorchBackend(net), plan.manifest())
        reference = _measure_checkpoint(checkpoint, scoring, stages=stages)
        predictors = {model: stack.enter_context(_load(model, draft, plan)) for model in models}
        verdicts = [
            judge(model, predictor, reference=reference, scoring=scoring, progress=stages(f"score {model.path}"))
            for model, predictor in predictors.items()
        ]
        require_budget(verdicts, reference, metric_budget=plan.metric_budget, tensor_tolerance=plan.tensor_tolerance)
        stages("golden vectors, model card, self-test")
        items, tolerances = choose_golden(scoring.dataset, checkpoint, predictors, count=plan.golden_images)
        golden_files = write_golden(draft / GOLDEN_FOLDER, items, tolerances)
        manifest = _write_texts(draft, plan, golden_files, reference=reference, verdicts=verdicts)
        for model in models:
            run_self_test(open_bundle(draft), backend=FORMATS[model.format].runtime, precision=model.precision)
        if keys:
            sign_bundle(open_bundle_to_sign(draft), keys, replace=False)
    write_measurements(target, _measured(reference, verdicts))
    return ExportReport(target, manifest, reference, tuple(verdicts))


def _convert(net: nn.Module, plan: ExportPlan, draft: Path, *, stages: Stages) -> list[ModelFile]:
    stages("trace the network")
    graph = trace(net, plan.graph)
    precisions = [precision for precision in PRECISIONS if precision in plan.precisions]
    models = []
    for name in (name for name in FORMATS if name in plan.formats):
        stages(f"convert to {name} ({', '.join(precisions)})")
        files = {precision: f"model_{precision}.{name}" for precision in precisions}
        FORMATS[name].write(graph, {precision: draft / file for precision, file in files.items()})
        for file in files.values():
            (draft / file).chmod(FILE_MODE)
        models += [describe_model(draft, file, format=name, precision=precision) for precision, file in files.items()]
    return models


def _measure_checkpoint(checkpoint: Predictor, scoring: Scoring, *, stages: Stages) -> Reference:
    dataset = scoring.dataset
    noting = StatisticsPredictor(checkpoint, scoring.postprocess)
    metric = EvidenceMetric(scoring.metric, len(checkpoint.manifest.labels))
    progress = stages("score the checkpoint")
    metrics = evaluate(noting, dataset, metric, progress=progress, limit=scoring.limit)
    preprocess = checkpoint.manifest.preprocess
    inputs = [preprocess.apply(dataset[i].image_bgr)[0] for i in spread_indices(len(dataset), PARITY_IMAGES)]
    return Reference(
        inputs_u8=inputs,
        raw_outputs=collect_raw_outputs(checkpoint, inputs),
        metrics=metrics,
        primary=scoring.metric.primary,
        latency_ms=median_latency_ms(checkpoint.backend, inputs[0][None]),
        resamples=scoring.resamples(),
        statistics=noting.statistics,
        evidence=metric.evidence,
    )


def _load(model: ModelFile, draft: Path, plan: ExportPlan) -> Predictor:
    backend = open_backend(FORMATS[model.format].runtime, draft / model.path, threads=1)
    return Predictor(backend, plan.manifest())


def _write_texts(
    draft: Path, plan: ExportPlan, golden_files: Sequence[str], *, reference: Reference, verdicts: Sequence[Verdict]
) -> Manifest:
    """The manifest and the model card, which lists what is in the manifest and is listed there itself."""
    scores = {CHECKPOINT: (reference.metrics, reference.interval)}
    scores |= {verdict.model.path: (verdict.metrics, verdict.interval) for verdict in verdicts}
    draft_manifest = replace(
        plan.manifest(),
        files=tuple(verdict.model for verdict in verdicts),
        metrics=tuple(
            _entry(subject, values, interval, plan=plan, primary=reference.primary)
            for subject, (values, interval) in scores.items()
        ),
        reference_statistics=reference.statistics.to_value() if reference.statistics is not None else {},
        provenance={
            **plan.provenance,
            "worst_output_error": {verdict.model.path: dict(verdict.parity) for verdict in verdicts},
        },
    )
    card = model_card(draft_manifest, verdicts, reference=reference, plan=plan)
    (draft / MODEL_CARD_NAME).write_text(card, encoding="utf-8", newline="\n")
    others = [f"{GOLDEN_FOLDER}/{name}" for name in golden_files] + [MODEL_CARD_NAME]
    manifest = replace(
        draft_manifest, files=draft_manifest.files + tuple(describe_file(draft, path) for path in others)
    )
    write_manifest(manifest, draft)
    return manifest


def _entry(
    subject: str, values: Mapping[str, float], interval: ScoreInterval | None, *, plan: ExportPlan, primary: str
) -> MetricEntry:
    return MetricEntry(
        subject=subject,
        split=plan.split,
        primary=primary,
        values=dict(values),
        data_fingerprint=plan.data_fingerprint,
        run_id=plan.run_id,
        interval=interval,
    )


def _measured(reference: Reference, verdicts: Sequence[Verdict]) -> dict[str, object]:
    """What is another number each time it is measured; it never goes into the bundle."""
    latency_ms = {CHECKPOINT: reference.latency_ms, **{verdict.model.path: verdict.latency_ms for verdict in verdicts}}
    return {"latency_ms_p50": {subject: round(value, 3) for subject, value in latency_ms.items()}}
