"""What a user sees of an export: its tables, what was refused, and where everything lies."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.table import Table

from cvforge.commands.terminal import rows_table, stdout_console
from cvforge.errors import ExportBudgetError, StorageError
from cvforge.export.beside import Beside
from cvforge.export.failed import RefusedExportError, write_failed
from cvforge.export.judged_by import loosened
from cvforge.export.model_card import IMPORTED
from cvforge.export.report import ExportReport
from cvforge.export.score_tables import agreement_rows, comparison_rows, file_rows
from cvforge_edge.benchmark.table import cost_header, cost_rows


def print_report(report: ExportReport, beside: Beside) -> None:
    """Show what was written, what was measured, and what to do next."""
    folder = _shown_path(report.folder)
    _print_tables(report)
    if beside.measured.files:
        stdout_console().print(cost_table(report, beside))
    _print_lines(report)
    print(f"bundle: {folder}")
    print(f"report: {_shown_path(beside.report)}")
    print(f"next:   python deploy/edge/run_camera.py --bundle {folder} --self-test")


@contextmanager
def evidence_of_refusal() -> Iterator[None]:
    """What an export over budget measured is shown and written down before its error goes on.

    Raises:
        ExportBudgetError: with the place of the measurements, for every `RefusedExportError`.
    """
    try:
        yield
    except RefusedExportError as error:
        _print_tables(error.report)
        _print_lines(error.report)
        try:
            where = f"all measurements: {_shown_path(write_failed(error))}"
        except StorageError as not_written:
            where = f"the measurements are lost: {not_written}"
        raise ExportBudgetError(f"{error}\n{where}") from error


def report_table(report: ExportReport) -> Table:
    """One row for the checkpoint and for each file: score, difference, size, worst error of a raw output."""
    reference, primary = report.reference, report.reference.primary
    if primary is None:
        title = f"compared on {len(reference.inputs_u8)} images, not scored"
        return rows_table(title, (report.manifest.name, "MB", "output error"), comparison_rows(report.verdicts))
    columns = (report.manifest.name, primary, "difference", "MB", "output error")
    level = "" if reference.interval is None else f" with {reference.interval.level:.0%} intervals"
    rows = file_rows(report.verdicts, reference, first=_reference_name(report))
    return rows_table(f"{primary} on {report.manifest.metrics[0].split}{level}", columns, rows)


def agreement_table(report: ExportReport) -> Table:
    """One row for each file: how far what it reports is what the checkpoint reports."""
    (_, *columns), *rows = agreement_rows(report.verdicts)
    title = f"agreement with {_reference_name(report)}"
    return rows_table(title, (report.manifest.name, *columns), rows)


def cost_table(report: ExportReport, beside: Beside) -> Table:
    """One row for the checkpoint and for each file: latency, memory and cold start on this machine."""
    costs = beside.measured.files
    header = cost_header(costs)
    checkpoint = (_reference_name(report), f"{beside.measured.checkpoint_latency_ms:.1f}", *[""] * (len(header) - 1))
    title = f"on {beside.measured.machine}: p50 of the network, p95 in brackets"
    return rows_table(title, ("", *header), [checkpoint, *cost_rows(costs)])


def int8_lines(report: ExportReport) -> list[str]:
    """One sentence for each int8 file: which layers stayed in float, and what every trial lost."""
    lines = []
    for file in report.int8:
        losses = ", ".join(f"{trial.loss:+.4f}" for trial in file.search.trials)
        kept = ", ".join(file.search.float_layers) or "none"
        lines.append(f"{file.verdict.model.path}: layers back in float: {kept} (lost {losses})")
    return lines


def _print_tables(report: ExportReport) -> None:
    """Show the scores of every file, and how far what it reports is what the checkpoint reports."""
    stdout_console().print(report_table(report))
    if any(verdict.agreement is not None for verdict in report.verdicts):
        stdout_console().print(agreement_table(report))


def _print_lines(report: ExportReport) -> None:
    """Say what stayed in float in int8 files, and which limits were loosened."""
    for line in [*int8_lines(report), *loosened(report.plan)]:
        print(line)


def _shown_path(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _reference_name(report: ExportReport) -> str:
    return "the imported file" if IMPORTED in report.manifest.provenance else "checkpoint (PyTorch)"
