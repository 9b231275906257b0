"""What was measured when an export was refused: it makes no bundle, and the evidence lies where the bundle would have been.

`NAME.failed.json` holds the limits, every file's scores, errors and agreement, and of int8 files every trial and the noise of
every layer. The next export of this name that succeeds removes it, the next that fails replaces it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cvforge.errors import ExportBudgetError
from cvforge.export.int8_files import Int8File, int8_measurements
from cvforge.export.judged_by import JUDGED_BY, judged_by
from cvforge.export.plan import ExportPlan
from cvforge.export.report import ExportReport, metric_entry
from cvforge.export.verify import Reference, Verdict
from cvforge.export.whole_file import write_whole
from cvforge_edge.benchmark.machine import machine_value, this_machine
from cvforge_edge.interval import ScoreInterval
from cvforge_edge.manifest import CHECKPOINT, ModelFile
from cvforge_edge.strict_json import format_json

SUFFIX = ".failed.json"
SCHEMA_VERSION = 1
LAYERS_SHOWN = 3


class RefusedExportError(ExportBudgetError):
    """An export over budget, with everything that was measured.

    Attributes:
        report: of what would have become a bundle; its manifest lists no file.
    """

    def __init__(self, message: str, report: ExportReport) -> None:
        super().__init__(message)
        self.report = report


def refused(
    error: ExportBudgetError,
    target: Path,
    plan: ExportPlan,
    *,
    reference: Reference,
    verdicts: Sequence[Verdict],
    int8: Sequence[Int8File],
) -> RefusedExportError:
    """An export over budget, with its measurements and, of int8 files, the layers and trials in short."""
    entries = [] if reference.primary is None else [metric_entry(CHECKPOINT, plan, reference=reference)]
    report = ExportReport(
        folder=target,
        manifest=replace(plan.manifest(), metrics=tuple(entries)),
        reference=reference,
        verdicts=tuple(verdicts),
        plan=plan,
        int8=tuple(int8),
    )
    return RefusedExportError("\n".join([str(error), *(_in_short(file) for file in int8)]), report)


def failed_path(bundle: Path) -> Path:
    """Where the measurements of a refused export lie.

    >>> failed_path(Path("bundles/det_bccd")).as_posix()
    'bundles/det_bccd.failed.json'
    """
    return bundle.with_name(bundle.name + SUFFIX)


def write_failed(error: RefusedExportError) -> Path:
    """Write the measurements of a refused export, whole or not at all.

    Raises:
        StorageError: it cannot be written.
    """
    path = failed_path(error.report.folder)
    write_whole(path, format_json(_finite(_document(error))).encode("utf-8"), state="no bundle was written either")
    return path


def _document(error: RefusedExportError) -> dict[str, Any]:
    report, plan, reference = error.report, error.report.plan, error.report.reference
    return {
        "schema_version": SCHEMA_VERSION,
        "refused": str(error).splitlines(),
        "name": plan.name,
        "version": plan.version,
        "machine": machine_value(this_machine()),
        "provenance": {**plan.provenance, JUDGED_BY: judged_by(plan)},
        "split": plan.split,
        "data_fingerprint": plan.data_fingerprint,
        "primary": reference.primary,
        "checkpoint": {
            "metrics": dict(reference.metrics),
            "interval": _interval(reference.interval),
            "latency_ms": round(reference.latency_ms, 3),
        },
        "files": {verdict.model.path: _file(verdict) for verdict in report.verdicts},
        "int8": dict(int8_measurements(report.int8)),
    }


def _file(verdict: Verdict) -> dict[str, Any]:
    model = verdict.model
    return {
        "format": model.format,
        "precision": model.precision,
        "size_bytes": model.size_bytes,
        **({"sha256": model.sha256} if isinstance(model, ModelFile) else {}),
        "failure": verdict.failure,
        "metrics": dict(verdict.metrics),
        "interval": _interval(verdict.interval),
        "difference": _interval(verdict.difference),
        "worst_output_error": dict(verdict.parity),
        "output_noise": dict(verdict.noise),
        "agreement": None if verdict.agreement is None else verdict.agreement.to_value(),
        "float_layers": list(verdict.float_layers),
    }


def _interval(interval: ScoreInterval | None) -> list[float] | None:
    return None if interval is None else [interval.low, interval.high]


def _finite(value: Any) -> Any:
    """JSON knows neither NaN nor Infinity: what could not be measured becomes null."""
    if isinstance(value, dict):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _in_short(file: Int8File) -> str:
    """The trials of one int8 file and its noisiest layers in one line."""
    search, noise = file.search, file.search.noise
    shown = dict.fromkeys([search.trials[0], search.best, search.trials[-1]])  # each once
    lost = ", ".join(f"{trial.loss:+.4f} with {len(trial.float_layers)}" for trial in shown)
    layers = ", ".join(f"{layer.name} ({layer.kind}, {layer.sqnr_db:.1f} dB)" for layer in noise[:LAYERS_SHOWN])
    return f"{file.verdict.model.path}: lost {lost} layers back in float; noisiest layers, signal to noise: {layers or 'none'}"
