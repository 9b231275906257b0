"""From a network to a verified SavedModel for servers, or to an error and nothing at all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from cvforge.errors import ExportError, RunExistsError
from cvforge.export.checkpoint import measure_checkpoint
from cvforge.export.folder import scratch_folder, whole_folder
from cvforge.export.judged_by import JUDGED_BY, judged_by
from cvforge.export.plan import ExportPlan
from cvforge.export.report import ExportReport
from cvforge.export.savedmodel.backend import SavedModelBackend, require_tensorflow
from cvforge.export.source import FILE_MODE, Source, file_name
from cvforge.export.stages import Stages
from cvforge.export.verify import Reference, Scoring, Verdict, judge, require_budget
from cvforge.export.worker import run_worker
from cvforge_edge.bundle import describe_file
from cvforge_edge.manifest import CHECKPOINT, Manifest, MetricEntry
from cvforge_edge.predictor import Predictor

WORKER = "cvforge.export.savedmodel.write_worker"
MANIFEST_PATH = "assets.extra/cvforge_manifest.json"
"""Beside the model; TensorFlow leaves `assets.extra` to its makers."""
SINGLE = ("tflite", "fp32")
"""Format and precision of the file that a SavedModel is made of."""


@dataclass(frozen=True)
class SavedModelFolder:
    """A SavedModel as an exported model; see `cvforge.export.verify.ExportedModel`.

    Attributes:
        path: its name in tables and messages.
        size_bytes: of all its files.
        precision: of its weights and arithmetic.
        format: in which it is written.
    """

    path: str
    size_bytes: int
    precision: str = "fp32"
    format: str = "savedmodel"


def check_version_folder(target: Path) -> None:
    """Find out before the work starts whether `target`, the folder of one version, is free and TensorFlow is there.

    Raises:
        RunExistsError: there is something at `target`.
        BackendError: TensorFlow is not installed.
    """
    if target.exists() or target.is_symlink():
        raise RunExistsError(
            f"--output {target.parent}: holds version {target.name} already, and a server does not load a version twice; "
            "raise --model-version, or remove the folder"
        )
    require_tensorflow()


def write_savedmodel(
    source: Source, scoring: Scoring, plan: ExportPlan, *, target: Path, stages: Stages
) -> ExportReport:
    """Write a SavedModel, hold it against its source in TensorFlow itself, and keep it whole or not at all.

    Args:
        source: the network.
        scoring: images, and how the model is scored on them.
        plan: with `SINGLE` as its only format and precision.
        target: folder of the version, `NAME/VERSION` as TensorFlow Serving expects it; it must not exist.
        stages: shows progress.

    Raises:
        ExportError: the network cannot be converted.
        ExportBudgetError: the SavedModel loses more than it may.
        BackendError: TensorFlow is not installed, or cannot load the SavedModel.
        RunExistsError, StorageError: the folder is taken or cannot be written.
    """
    if (plan.formats, plan.precisions) != ((SINGLE[0],), (SINGLE[1],)):
        raise ExportError(f"savedmodel: found {plan.formats} in {plan.precisions}, accepted {' in '.join(SINGLE)}")
    check_version_folder(target)
    with (
        whole_folder(target, replace=False) as draft,
        scratch_folder(draft) as scratch,
    ):
        source.write(scratch, scratch, plan, stages)
        stages("convert to savedmodel")
        made = _convert(scratch / file_name(*SINGLE), draft, scratch / "report.json")
        reference = measure_checkpoint(Predictor(source.backend, plan.manifest()), scoring, stages=stages)
        model = SavedModelFolder("savedmodel", sum(path.stat().st_size for path in _files(draft)))
        with Predictor(SavedModelBackend(draft), plan.manifest()) as predictor:
            progress = stages("score the savedmodel in tensorflow")
            verdict = judge(model, predictor, reference=reference, scoring=scoring, progress=progress)
        require_budget(
            [verdict],
            reference,
            metric_budget=plan.metric_budget,
            tensor_tolerance=plan.tensor_tolerance,
            tensor_peak=plan.tensor_peak,
            made="SavedModel",
        )
        manifest = _write_manifest(draft, plan, made, reference=reference, verdict=verdict)
    return ExportReport(target, manifest, reference, (verdict,), plan)


def _convert(tflite: Path, draft: Path, report: Path) -> dict[str, str]:
    """Write the SavedModel; how it computes batches and with which TensorFlow it was made."""
    run_worker("savedmodel", WORKER, [str(tflite), str(draft), str(report)])
    for path in _files(draft):
        path.chmod(FILE_MODE)
    return dict(json.loads(report.read_text(encoding="utf-8")))


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _write_manifest(
    draft: Path, plan: ExportPlan, made: Mapping[str, str], *, reference: Reference, verdict: Verdict
) -> Manifest:
    """What a server needs around the model: labels, what an image becomes before it and raw outputs after it."""
    assert reference.primary is not None  # a run has a metric
    entry = MetricEntry(
        subject=CHECKPOINT,
        split=plan.split,
        primary=reference.primary,
        values=dict(reference.metrics),
        data_fingerprint=plan.data_fingerprint,
        run_id=plan.run_id,
        interval=reference.interval,
    )
    measured = {
        **made,
        "metrics": dict(verdict.metrics),
        "worst_output_error": dict(verdict.parity),
        "output_noise": dict(verdict.noise),
    }
    manifest = replace(
        plan.manifest(),
        files=tuple(describe_file(draft, path.relative_to(draft).as_posix()) for path in _files(draft)),
        metrics=(entry,),
        reference_statistics=reference.statistics.to_value() if reference.statistics is not None else {},
        provenance={**plan.provenance, JUDGED_BY: judged_by(plan), verdict.model.format: measured},
    )
    path = draft / MANIFEST_PATH
    path.parent.mkdir()
    path.write_text(manifest.to_json(), encoding="utf-8", newline="\n")
    return manifest
