"""From a network to a verified bundle, or to an error and nothing at all."""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Protocol

from torch import nn

from cvforge.evaluation import spread_indices
from cvforge.export.folder import whole_folder
from cvforge.export.formats import FORMATS, PRECISIONS
from cvforge.export.golden import choose_golden
from cvforge.export.latency import median_latency_ms
from cvforge.export.model_card import model_card
from cvforge.export.parity import collect_raw_outputs
from cvforge.export.plan import ExportPlan
from cvforge.export.torch_backend import TorchBackend
from cvforge.export.verify import Reference, Scoring, Verdict, judge, require_budget
from cvforge.export.wrap import trace
from cvforge_edge.backends import Backend, open_backend
from cvforge_edge.bundle import describe_file, describe_model, open_bundle
from cvforge_edge.golden import GOLDEN_FOLDER, write_golden
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


@dataclass(frozen=True)
class Source:
    """What a bundle is made of.

    Attributes:
        backend: answers as the network should; every file is held against it.
        write: writes the model files of a plan into a folder.
    """

    backend: Backend
    write: Callable[[Path, ExportPlan, Stages], list[ModelFile]]


def export_bundle(
    net: nn.Module, scoring: Scoring, plan: ExportPlan, *, target: Path, replace_existing: bool, stages: Stages
) -> ExportReport:
    """Convert a trained network of the contract into a bundle; see `write_bundle`.

    Raises:
        ExportError: the network cannot be converted.
    """
    source = Source(TorchBackend(net), partial(_convert, net))
    return write_bundle(source, scoring, plan, target=target, replace_existing=replace_existing, stages=stages)


def write_bundle(
    source: Source, scoring: Scoring, plan: ExportPlan, *, target: Path, replace_existing: bool, stages: Stages
) -> ExportReport:
    """Write model files, hold each against its source, and write the bundle whole or not at all.

    Args:
        source: the network, and how its files are written.
        scoring: images, and how files are scored on them.
        plan: what to make.
        target: the bundle's folder.
        replace_existing: whether a bundle that is there already may be replaced.
        stages: shows progress.

    Raises:
        ExportError: the network cannot be converted.
        ExportBudgetError: a file loses more than it may.
        RunExistsError, ConfigError, StorageError: the folder is taken or cannot be written.
    """
    with whole_folder(target, replace=replace_existing) as draft, contextlib.ExitStack() as stack:
        models = source.write(draft, plan, stages)
        checkpoint = Predictor(source.backend, plan.manifest())
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
    return ExportReport(target, manifest, reference, tuple(verdicts))


def _convert(net: nn.Module, draft: Path, plan: ExportPlan, stages: Stages) -> list[ModelFile]:
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
    metrics = scoring.score(checkpoint, progress=stages("score the checkpoint")) if scoring.metric else {}
    preprocess = checkpoint.manifest.preprocess
    inputs = [preprocess.apply(dataset[i].image_bgr)[0] for i in spread_indices(len(dataset), PARITY_IMAGES)]
    return Reference(
        inputs_u8=inputs,
        raw_outputs=collect_raw_outputs(checkpoint, inputs),
        metrics=metrics,
        primary=scoring.metric.primary if scoring.metric else None,
        latency_ms=median_latency_ms(checkpoint.backend, inputs[0][None]),
    )


def _load(model: ModelFile, draft: Path, plan: ExportPlan) -> Predictor:
    backend = open_backend(FORMATS[model.format].runtime, draft / model.path, threads=1)
    return Predictor(backend, plan.manifest())


def _write_texts(
    draft: Path, plan: ExportPlan, golden_files: Sequence[str], *, reference: Reference, verdicts: Sequence[Verdict]
) -> Manifest:
    """The manifest and the model card, which lists what is in the manifest and is listed there itself."""
    scores = {CHECKPOINT: reference.metrics, **{verdict.model.path: verdict.metrics for verdict in verdicts}}
    draft_manifest = replace(
        plan.manifest(),
        files=tuple(verdict.model for verdict in verdicts),
        metrics=tuple(
            _entry(subject, values, reference.primary, plan) for subject, values in scores.items() if reference.primary
        ),
        provenance={**plan.provenance, "measured": _measured(verdicts)},
    )
    card = model_card(draft_manifest, verdicts, reference=reference, plan=plan)
    (draft / MODEL_CARD_NAME).write_text(card, encoding="utf-8", newline="\n")
    others = [f"{GOLDEN_FOLDER}/{name}" for name in golden_files] + [MODEL_CARD_NAME]
    manifest = replace(
        draft_manifest, files=draft_manifest.files + tuple(describe_file(draft, path) for path in others)
    )
    write_manifest(manifest, draft)
    return manifest


def _entry(subject: str, values: Mapping[str, float], primary: str, plan: ExportPlan) -> MetricEntry:
    return MetricEntry(
        subject=subject,
        split=plan.split,
        primary=primary,
        values=dict(values),
        data_fingerprint=plan.data_fingerprint,
        run_id=plan.run_id,
    )


def _measured(verdicts: Sequence[Verdict]) -> dict[str, object]:
    """What was measured besides the metric, on which kind of machine."""
    return {
        "machine": f"{platform.system()} {platform.machine()}, one thread",
        "latency_ms_p50": {verdict.model.path: round(verdict.latency_ms, 3) for verdict in verdicts},
        "worst_output_error": {verdict.model.path: dict(verdict.parity) for verdict in verdicts},
    }
