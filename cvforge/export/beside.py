"""What lies beside a finished bundle: measurements, the Pareto picture and the report page, each whole or not at all."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from cvforge.errors import StorageError
from cvforge.export.failed import failed_path
from cvforge.export.int8_files import int8_measurements
from cvforge.export.measurements import Measurements, measurements_path, read_measurements, write_measurements
from cvforge.export.pareto import candidates
from cvforge.export.pareto_plot import draw_pareto
from cvforge.export.report import ExportReport
from cvforge.export.report_page import report_page
from cvforge.export.stages import Stages
from cvforge.export.whole_file import write_whole
from cvforge_edge.benchmark.cost import FileCost, NotMeasured
from cvforge_edge.benchmark.machine import this_machine
from cvforge_edge.benchmark.measure import BenchmarkPlan, measure_bundle, thread_counts, usable_cores
from cvforge_edge.bundle import open_bundle

REPORT_SUFFIX = ".report.html"
PLOT_SUFFIX = ".pareto.png"
BUDGET_S = 20.0
"""No further round of measuring begins after it."""
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Beside:
    """What was written beside a bundle.

    Attributes:
        measured: on this machine.
        report: path of the page.
    """

    measured: Measurements
    report: Path


def report_path(bundle: Path) -> Path:
    """Where the page of a bundle lies.

    >>> report_path(Path("bundles/det_bccd")).as_posix()
    'bundles/det_bccd.report.html'
    """
    return bundle.with_name(bundle.name + REPORT_SUFFIX)


def plot_path(bundle: Path) -> Path:
    """Where the Pareto picture of a bundle lies."""
    return bundle.with_name(bundle.name + PLOT_SUFFIX)


def write_beside(report: ExportReport, *, measure: bool, stages: Stages) -> Beside:
    """Measure the files of a finished bundle on this machine, and write what lies beside it.

    What lay there of an earlier bundle of the same name, or of an export that was refused, goes first, so that an
    interruption leaves no page of another bundle. A file that cannot be measured is no error: the log, the measurements and
    the page say why.

    Args:
        report: of the export; its bundle has its name.
        measure: False leaves the files unmeasured, for those in a hurry.
        stages: shows progress.

    Raises:
        StorageError: something cannot be written; the bundle is complete.
    """
    folder = report.folder
    _remove([measurements_path(folder), plot_path(folder), report_path(folder), failed_path(folder)])
    try:
        costs = _measure(folder, stages) if measure else {}
    except KeyboardInterrupt:
        logger.warning("%s is complete; only measuring it was interrupted", folder)
        raise
    stages("write measurements and report")
    measured = Measurements(this_machine(), report.reference.latency_ms, costs, int8_measurements(report.int8))
    write_measurements(folder, measured)
    measured = read_measurements(folder)  # rounded: the page says what the file says
    plot = _plot(report, measured)
    if plot is not None:
        write_whole(plot_path(folder), plot)
    write_whole(report_path(folder), report_page(report, measured, plot=plot).encode("utf-8"))
    return Beside(measured, report_path(folder))


def _measure(folder: Path, stages: Stages) -> dict[str, FileCost | NotMeasured]:
    plan = BenchmarkPlan(threads=thread_counts(usable_cores()), budget_s=BUDGET_S)
    costs = measure_bundle(open_bundle(folder), plan, progress=stages("measure files on this machine"))
    for path, cost in costs.items():
        if isinstance(cost, NotMeasured):
            logger.warning("%s: %s is not measured: %s", folder, path, cost.reason)
    return costs


def _plot(report: ExportReport, measured: Measurements) -> bytes | None:
    reference, primary = report.reference, report.reference.primary
    return draw_pareto(
        candidates(report.verdicts, measured.files, primary=primary),
        title=f"{report.manifest.name}, version {report.manifest.version}",
        primary=primary,
        checkpoint_score=None if primary is None else reference.metrics[primary],
    )


def _remove(paths: list[Path]) -> None:
    for path in paths:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise StorageError(f"{path}: cannot be replaced ({error}); the bundle itself is complete") from error
