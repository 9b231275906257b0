"""From a network to a verified bundle, or to an error and nothing at all."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from cvforge.errors import ExportBudgetError
from cvforge.export.batch_files import judge_batch_files
from cvforge.export.checkpoint import measure_checkpoint
from cvforge.export.failed import refused
from cvforge.export.folder import scratch_folder, whole_folder
from cvforge.export.formats import FORMATS, PRECISIONS
from cvforge.export.golden import choose_golden
from cvforge.export.int8_files import Int8File, int8_provenance, make_int8
from cvforge.export.judge import Judge
from cvforge.export.judged_by import JUDGED_BY, judged_by
from cvforge.export.model_card import model_card
from cvforge.export.plan import ExportPlan
from cvforge.export.report import ExportReport, metric_entry
from cvforge.export.sign import SigningKey, sign_bundle
from cvforge.export.source import Source, float_precisions
from cvforge.export.stages import Stages
from cvforge.export.verify import Reference, Scoring, Verdict, require_budget
from cvforge_edge.bundle import describe_file, open_bundle, open_bundle_to_sign
from cvforge_edge.golden import GOLDEN_FOLDER, write_golden
from cvforge_edge.manifest import CHECKPOINT, Manifest, write_manifest
from cvforge_edge.predictor import Predictor
from cvforge_edge.selftest import run_self_test

MODEL_CARD_NAME = "model_card.md"


def write_bundle(
    source: Source,
    scoring: Scoring,
    plan: ExportPlan,
    *,
    target: Path,
    replace_existing: bool,
    stages: Stages,
    calibration: Sequence[np.ndarray] = (),
    keys: Sequence[SigningKey] = (),
) -> ExportReport:
    """Write model files, hold each against their source, and write the bundle whole or not at all.

    Args:
        source: the network, and how its files are written.
        scoring: images, and how files are scored on them.
        plan: what to make.
        target: the bundle's folder.
        replace_existing: whether a bundle that is there already may be replaced.
        stages: shows progress.
        calibration: prepared training images (h, w, 3) uint8 that the ranges of int8 files are measured on; needed for
            int8 only.
        keys: sign the bundle, as the last step before it gets its name; empty for an unsigned one.

    Raises:
        ExportError: the network cannot be converted.
        RefusedExportError: a file loses more than it may, or its golden vectors would; holds what was measured.
        RunExistsError, ConfigError, StorageError: the folder is taken or cannot be written.
    """
    with (
        whole_folder(target, replace=replace_existing) as draft,
        scratch_folder(draft) as scratch,
        contextlib.ExitStack() as stack,
    ):
        checkpoint = Predictor(source.backend, plan.manifest())
        judge, verdicts, int8 = write_and_judge(
            source, scoring, plan, folder=draft, scratch=scratch, stages=stages, calibration=calibration
        )
        reference = judge.reference
        try:
            require_budget(
                verdicts,
                reference,
                metric_budget=plan.metric_budget,
                tensor_tolerance=plan.tensor_tolerance,
                tensor_peak=plan.tensor_peak,
            )
            stages("golden vectors, model card, self-test")
            predictors = {verdict.model: stack.enter_context(judge.load(verdict.model)) for verdict in verdicts}
            items, tolerances = choose_golden(scoring.dataset, checkpoint, predictors, count=plan.golden_images)
        except ExportBudgetError as error:
            raise refused(error, target, plan, reference=reference, verdicts=verdicts, int8=int8) from error
        golden_files = write_golden(draft / GOLDEN_FOLDER, items, tolerances)
        made = {**plan.provenance, **int8_provenance(int8, len(calibration))}
        manifest = _write_texts(
            draft, replace(plan, provenance=made), golden_files, reference=reference, verdicts=verdicts
        )
        for verdict in verdicts:
            model = verdict.model
            runtime = FORMATS[model.format].runtime
            run_self_test(open_bundle(draft), backend=runtime, precision=model.precision, batch=model.batch)
        if keys:
            sign_bundle(open_bundle_to_sign(draft), keys, replace=False)
    return ExportReport(target, manifest, reference, tuple(verdicts), plan, int8)


def write_and_judge(
    source: Source,
    scoring: Scoring,
    plan: ExportPlan,
    *,
    folder: Path,
    scratch: Path,
    stages: Stages,
    calibration: Sequence[np.ndarray] = (),
) -> tuple[Judge, list[Verdict], tuple[Int8File, ...]]:
    """Write the model files of a plan and measure each, whatever it loses.

    Args:
        source: the network, and how its files are written.
        scoring: images, and how files are scored on them.
        plan: what to make.
        folder: gets the files.
        scratch: an existing folder for intermediate files.
        stages: shows progress.
        calibration: as for `write_bundle`.

    Returns:
        Who measured them, a verdict for each in the order of a manifest, and how the int8 files were found.

    Raises:
        ExportError: the network cannot be converted.
    """
    float_files = source.write(folder, scratch, plan, stages)
    reference = measure_checkpoint(Predictor(source.backend, plan.manifest()), scoring, stages=stages)
    judge = Judge(folder, plan, reference, scoring, stages)
    verdicts = [judge.verdict(name, precision) for name, precision in _float_files(plan)]
    int8 = tuple(
        make_int8(name, file, calibration=calibration, scratch=scratch, judge=judge)
        for name, file in float_files.items()
    )
    verdicts += [file.verdict for file in int8]
    verdicts += judge_batch_files(judge, scratch=scratch, calibration=calibration, int8=int8)
    return judge, sorted(verdicts, key=_preference), int8


def _float_files(plan: ExportPlan) -> list[tuple[str, str]]:
    return [(name, precision) for name in FORMATS if name in plan.formats for precision in float_precisions(plan)]


def _preference(verdict: Verdict) -> tuple[bool, int, int]:
    """The order of a manifest: a device takes the first file that it can run; those for servers come last."""
    model = verdict.model
    return model.batch, list(FORMATS).index(model.format), PRECISIONS.index(model.precision)


def _write_texts(
    draft: Path, plan: ExportPlan, golden_files: Sequence[str], *, reference: Reference, verdicts: Sequence[Verdict]
) -> Manifest:
    """The manifest and the model card, which lists what is in the manifest and is listed there itself."""
    subjects: dict[str, Verdict | None] = {CHECKPOINT: None, **{verdict.model.path: verdict for verdict in verdicts}}
    draft_manifest = replace(
        plan.manifest(),
        files=tuple(verdict.model for verdict in verdicts),
        metrics=tuple(
            metric_entry(subject, plan, reference=reference, verdict=verdict)
            for subject, verdict in subjects.items()
            if reference.primary is not None
        ),
        reference_statistics=reference.statistics.to_value() if reference.statistics is not None else {},
        provenance={
            **plan.provenance,
            JUDGED_BY: judged_by(plan),
            "worst_output_error": {verdict.model.path: dict(verdict.parity) for verdict in verdicts},
            "output_noise": {verdict.model.path: dict(verdict.noise) for verdict in verdicts},
            "agreement": {v.model.path: v.agreement.to_value() for v in verdicts if v.agreement is not None},
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
