"""Charts and matrices of a report as PNG, for trackers, which show pictures; drawn of the same data as the page."""

from __future__ import annotations

import io
from typing import Any

import cv2
import numpy as np

from cvforge.html.chart import Chart, spans
from cvforge.html.matrix import Matrix, most_confused
from cvforge.report.page import CLASSES_IN_MATRIX
from cvforge.report.pictures import ShownImage
from cvforge.report.write import Report

INCHES = (7.5, 4.6)
DPI = 110
WORDS_UP_TO = 20
"""Classes up to which cells of a matrix have numbers, and their labels fit."""
LINES_NAMED = 12
GAP = 8
"""Pixels after each of two pictures."""


def report_pictures(report: Report) -> dict[str, bytes]:
    """Every figure and image of a report by a name that ends with its format, as PNG or JPEG."""
    matrix = most_confused(report.figures.matrix, CLASSES_IN_MATRIX)
    found = {f"{chart.name}.png": chart_png(chart) for chart in (*report.history, *report.figures.charts)}
    found[f"{matrix.name}.png"] = matrix_png(matrix)
    for kind in ("worst", "best"):
        images = getattr(report.images, kind)
        found |= {f"{kind}-{number}.jpg": beside(image) for number, image in enumerate(images, start=1)}
    return found


def beside(image: ShownImage) -> bytes:
    """Truth and answer of one image as one JPEG."""
    halves = [
        cv2.imdecode(np.frombuffer(half, np.uint8), cv2.IMREAD_COLOR) for half in (image.truth_jpeg, image.model_jpeg)
    ]
    heights = [half.shape[0] for half in halves]
    padded = [cv2.copyMakeBorder(half, 0, max(heights) - len(half), 0, GAP, cv2.BORDER_CONSTANT) for half in halves]
    return bytes(cv2.imencode(".jpg", np.hstack(padded))[1].tobytes())


def chart_png(chart: Chart) -> bytes:
    """One chart, on white."""
    figure, plot = _figure(INCHES)
    for line in chart.lines:
        points = np.array(line.finite, np.float64).reshape(-1, 2)
        styles: dict[str, dict[str, Any]] = {
            "strong": {"linewidth": 2.6},
            "thin": {"color": "#888888", "linewidth": 0.6},
            "reference": {"color": "#666666", "linewidth": 1.0, "linestyle": "--"},
        }
        label = None if line.kind == "thin" else _plain(line.name)
        plot.plot(points[:, 0], points[:, 1], label=label, **styles.get(line.kind, {"linewidth": 1.4}))
    x_range, y_range = spans(chart)
    plot.set_xlim(*x_range)
    plot.set_ylim(*y_range)
    plot.set_title(chart.title, parse_math=False, loc="left")
    plot.set_xlabel(chart.x_label, parse_math=False)
    plot.set_ylabel(chart.y_label, parse_math=False)
    plot.grid(alpha=0.3)
    if any(line.kind != "thin" for line in chart.lines):
        plot.legend(fontsize="small", loc="best", ncols=1 if len(chart.lines) < LINES_NAMED else 2)
    return _png(figure)


def matrix_png(matrix: Matrix) -> bytes:
    """One confusion matrix, on white; colour is the share of the row."""
    size = len(matrix.labels)
    side = min(12.0, 3.0 + 0.45 * size)
    figure, plot = _figure((side, side))
    shares = np.array([[matrix.share(i, j) for j in range(size)] for i in range(size)])
    plot.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0)
    plot.set_title(matrix.title, parse_math=False, loc="left")
    plot.set_xlabel("predicted")
    plot.set_ylabel("true")
    if size <= WORDS_UP_TO:
        names = [_plain(label) for label in matrix.labels]
        plot.set_xticks(range(size), names, rotation=90)
        plot.set_yticks(range(size), names)
        for i in range(size):
            for j in range(size):
                colour = "white" if shares[i, j] > 0.55 else "black"
                plot.text(j, i, matrix.text(i, j), ha="center", va="center", fontsize=8, color=colour)
    return _png(figure)


def _figure(inches: tuple[float, float]) -> tuple[Any, Any]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # not pyplot: no window, no global state
    from matplotlib.figure import Figure

    figure = Figure(figsize=inches, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots()


def _plain(name: str) -> str:
    """A class name may hold signs that would begin a formula."""
    return name.replace("$", r"\$")


def _png(figure: Any) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=DPI, format="png")
    return buffer.getvalue()
