"""Shows several runs side by side: tables on the terminal, a page with their curves."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np
from rich.table import Table
from rich.text import Text

from cvforge.commands.compared_runs import (
    ComparedRun,
    class_rows,
    differing_keys,
    fact_rows,
    open_runs,
    score_rows,
    warnings,
)
from cvforge.commands.terminal import stderr_console, stdout_console
from cvforge.errors import StorageError
from cvforge.html import chart as chart_html
from cvforge.html.chart import Chart, Line, charts
from cvforge.html.page import Section, page, paragraph, table, warning
from cvforge.metrics.resampled_precision import RECALL_POINTS
from cvforge.report.history import TOTAL_LOSS, column_points

CLASSES_SHOWN = 40
__all__ = ["open_runs", "print_comparison", "write_comparison"]


def print_comparison(runs: Sequence[ComparedRun]) -> None:
    """Warnings on standard error, scores, facts and differing keys on standard output."""
    for text in warnings(runs):
        style = "bold red" if text.startswith("THE ") else "yellow"
        stderr_console().print(Text(f"warning: {text}", style=style), soft_wrap=True)
    console = stdout_console()
    scores = _table("", runs)
    for name, values in score_rows(runs):
        best = max((value for value in values if value is not None), default=None)
        cells = [Text(_number(value), style="bold" if value == best else "") for value in values]
        scores.add_row(name, *cells)
    scores.add_section()
    for name, texts in fact_rows(runs):
        scores.add_row(name, *texts)
    console.print(scores)
    keys = differing_keys(runs)
    if not keys:
        console.print("The configs do not differ.")
        return
    differing = _table("config keys that differ", runs)
    for key, texts in keys:
        differing.add_row(key, *texts)
    console.print(differing)


def write_comparison(runs: Sequence[ComparedRun], path: Path) -> None:
    """A page with tables and overlaid curves.

    Raises:
        StorageError: it cannot be written.
    """
    try:
        path.write_text(comparison_page(runs), encoding="utf-8")
    except OSError as error:
        raise StorageError(
            f"{path}: the comparison cannot be written ({error}); free space or give another --output"
        ) from error


def comparison_page(runs: Sequence[ComparedRun]) -> str:
    """HTML of the comparison."""
    names = [run.name for run in runs]
    scores = [(name, *map(_number, values)) for name, values in score_rows(runs)]
    facts = [(name, *texts) for name, texts in fact_rows(runs)]
    classes = [(name, *map(_number, values)) for name, values in class_rows(runs)[:CLASSES_SHOWN]]
    keys = [(key, *texts) for key, texts in differing_keys(runs)]
    same = paragraph("Nothing but names and places differs.")
    sections = [
        Section("scores", "Scores", (table(("score", *names), scores),)),
        Section("curves", "Curves", (charts(comparison_charts(runs)),)),
        Section("costs", "Training and costs", (table(("", *names), facts),)),
        Section("config", "Config", (table(("key", *names), keys, texts=True) if keys else same,)),
    ]
    if classes:
        note = paragraph("Validation scores, the largest difference first.", quiet=True)
        sections.insert(3, Section("classes", "Classes", (note, table(("class", *names), classes))))
    lead = [paragraph(f"For {runs[0].run.task}: {', '.join(names)}."), *(warning(text) for text in warnings(runs))]
    footer = [f'<p class="quiet">{escape(str(run.run.dir))}</p>' for run in runs]
    return page(f"{len(runs)} runs side by side", lead, sections, footer=footer, style=chart_html.STYLE)


def comparison_charts(runs: Sequence[ComparedRun]) -> list[Chart]:
    """The score that chose the checkpoints, the training loss and, of detectors, precision; a line for each run."""
    primary = runs[0].primary
    panels = [
        ("scores", f"Validation {primary}", primary, f"val/{primary}"),
        ("losses", "Training loss", "loss", TOTAL_LOSS),
    ]
    drawn = []
    for name, title, label, column in panels:
        lines = [
            Line(run.name, column_points(run.history, column, total_steps=run.summary.get("steps"))) for run in runs
        ]
        drawn.append(Chart(name, title, "epoch", label, tuple(line for line in lines if line.finite)))
    precisions = []
    for run in runs:
        mean = run.report.get("figures", {}).get("mean_precision")
        if mean is not None:
            points = tuple(zip(RECALL_POINTS.tolist(), mean, strict=True))
            precisions.append(Line(f"{run.name} {np.mean(mean):.3f}", points))
    title = "Precision against recall, overlap 0.5, mean of the classes"
    drawn.append(Chart("precision-recall", title, "recall", "precision", tuple(precisions), (0.0, 1.0), (0.0, 1.02)))
    return [chart for chart in drawn if chart.lines]


def _table(title: str, runs: Sequence[ComparedRun]) -> Table:
    shown = Table(title=title or None, title_justify="left", title_style="bold", highlight=False)
    shown.add_column("")
    for run in runs:
        shown.add_column(Text(run.name, overflow="fold"), justify="right", overflow="fold")
    return shown


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
