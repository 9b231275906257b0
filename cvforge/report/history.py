"""The history of a run as charts by epoch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from cvforge.html.chart import Chart, Line

POINTS = 250
"""Of a line at most; more are averaged in groups."""
LEARNING_RATE = "train/lr"
TOTAL_LOSS = "train/loss"
Rows = Sequence[dict[str, float]]


def history_charts(rows: Rows, *, primary: str, total_steps: int | None = None) -> tuple[Chart, ...]:
    """Losses, validation scores and learning rate; those that were logged.

    Args:
        rows: of the run's history file.
        primary: the score that chose the checkpoint, for instance `map`.
        total_steps: of a run that has finished.
    """
    names = sorted({name for row in rows for name in row})
    losses = [name for name in names if name.startswith("train/") and name != LEARNING_RATE]
    terms = [name for name in losses if name != TOTAL_LOSS]
    if len(terms) == 1:  # the only term is the loss
        losses = [TOTAL_LOSS] if TOTAL_LOSS in losses else terms
    losses.sort(key=lambda name: name != TOTAL_LOSS)
    scores = sorted((name for name in names if name.startswith("val/")), key=lambda name: name != f"val/{primary}")
    panels = [
        ("losses", "Training loss", "loss", losses, TOTAL_LOSS),
        ("scores", "Validation scores", "score", scores, f"val/{primary}"),
        ("learning-rate", "Learning rate", "learning rate", [n for n in names if n == LEARNING_RATE], LEARNING_RATE),
    ]
    drawn = [
        (name, title, label, history_lines(rows, columns, strong, total_steps))
        for name, title, label, columns, strong in panels
    ]
    last = max((line.finite[-1][0] for _, _, _, lines in drawn for line in lines), default=1.0)
    return tuple(Chart(name, title, "epoch", label, lines, (0.0, last)) for name, title, label, lines in drawn if lines)


def history_lines(rows: Rows, columns: Sequence[str], strong: str, total_steps: int | None) -> tuple[Line, ...]:
    """A line for each logged column that holds a finite number."""
    lines = []
    for column in columns:
        points = column_points(rows, column, total_steps=total_steps)
        line = Line(column.partition("/")[2], points, "strong" if column == strong else "line")
        if line.finite:
            lines.append(line)
    return tuple(lines)


def column_points(rows: Rows, column: str, *, total_steps: int | None = None) -> tuple[tuple[float, float], ...]:
    """(epochs done, value) of one logged column."""
    there = [row for row in rows if column in row]
    epochs = epochs_done(rows, np.array([row["step"] for row in there]), total_steps=total_steps)
    values = np.array([row[column] for row in there])
    groups = np.array_split(np.arange(len(there)), min(POINTS, len(there))) if there else []
    return tuple((float(epochs[group].mean()), float(values[group].mean())) for group in groups)


def epochs_done(
    rows: Rows, steps: npt.NDArray[np.float64], *, total_steps: int | None = None
) -> npt.NDArray[np.float64]:
    """Epochs, in fractions, that are done after each of these optimiser steps.

    A validation is logged at the last step of its epoch; between those, and after them, steps are taken to be equally long.

    Args:
        rows: of the run's history file.
        steps: counted from 0.
        total_steps: of a run that has finished; a validation after its end is logged behind its last step and epoch.
    """
    ends: dict[float, float] = {}
    for row in rows:
        if any(name.startswith("val/") for name in row):
            after_the_end = total_steps is not None and row["step"] >= total_steps
            ends[row["epoch"] + (not after_the_end)] = row["step"] + (not after_the_end)
    if not ends:
        last = max(rows, key=lambda row: row["step"], default={"epoch": 0.0, "step": 0.0})
        ends = {last["epoch"] + 1: last["step"] + 1}
    epochs, counts = np.array([0.0, *sorted(ends)]), np.array([0.0, *(ends[epoch] for epoch in sorted(ends))])
    done = np.minimum(steps + 1, np.inf if total_steps is None else total_steps)
    rate = epochs[-1] / counts[-1]
    return np.where(done > counts[-1], epochs[-1] + (done - counts[-1]) * rate, np.interp(done, counts, epochs))
