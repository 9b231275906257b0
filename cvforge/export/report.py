"""What an export measured, whether a bundle came of it or not."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cvforge.export.int8_files import Int8File
from cvforge.export.plan import ExportPlan
from cvforge.export.verify import Reference, Verdict
from cvforge_edge.manifest import Manifest, MetricEntry


@dataclass(frozen=True)
class ExportReport:
    """An export, and what was measured on the way.

    Attributes:
        folder: of the bundle.
        manifest: of the bundle.
        reference: the checkpoint.
        verdicts: one a model file.
        plan: what was asked for.
        int8: how the int8 files were found, one a format.
    """

    folder: Path
    manifest: Manifest
    reference: Reference
    verdicts: tuple[Verdict, ...]
    plan: ExportPlan
    int8: tuple[Int8File, ...] = ()


def metric_entry(
    subject: str, plan: ExportPlan, *, reference: Reference, verdict: Verdict | None = None
) -> MetricEntry:
    """The scores of a file for a manifest; those of the checkpoint where no verdict is given."""
    assert reference.primary is not None
    measured = reference if verdict is None else verdict
    return MetricEntry(
        subject=subject,
        split=plan.split,
        primary=reference.primary,
        values=dict(measured.metrics),
        data_fingerprint=plan.data_fingerprint,
        run_id=plan.run_id,
        interval=measured.interval,
    )
