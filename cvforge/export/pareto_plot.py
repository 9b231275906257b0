"""The Pareto picture of an export: score against latency against size, with the front of the files worth choosing."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cvforge.export.label_places import Line, Mark, place_labels
from cvforge.export.pareto import Candidate, pareto_front
from cvforge_edge.manifest import CHECKPOINT

INCHES = (9.0, 5.4)
DPI = 130
LOG_FROM_RATIO = 4.0
"""A logarithmic axis where the largest value is so many times the smallest."""
BYTES_PER_MB = 1e6
LARGEST_AREA = 600.0
"""Of the marker of the largest file, in points squared; the others in proportion to their size."""
SMALLEST_AREA = 40.0
MARKERS = {"tflite": "o", "onnx": "s"}
COLOURS = {"fp32": "#0b6e99", "fp16": "#8a6200", "int8": "#b3382c"}  # legible on white, also to the colour-blind
GREY = "#555555"


@dataclass(frozen=True)
class Axes:
    """What is drawn against what.

    Attributes:
        x, y: one value a candidate.
        x_label, y_label: with units.
        more_is_better: of y; of x less is always better.
    """

    x: tuple[float, ...]
    y: tuple[float, ...]
    x_label: str
    y_label: str
    more_is_better: bool

    @property
    def front(self) -> list[int]:
        """Indices of the candidates worth choosing, quickest or smallest first."""
        sign = -1 if self.more_is_better else 1
        return pareto_front([(x, sign * y) for x, y in zip(self.x, self.y, strict=True)])


def choose_axes(candidates: Sequence[Candidate], *, primary: str | None) -> Axes | None:
    """What can be drawn of files that are all scored or none, and all measured or none; None where there is one quantity only."""
    latencies_ms = tuple(c.latency_ms for c in candidates if c.latency_ms is not None)
    scores = tuple(c.score for c in candidates if c.score is not None)
    sizes_mb = tuple(c.size_bytes / BYTES_PER_MB for c in candidates)
    latency, size = "latency of the network, p50, one thread, ms", "size of the file, MB"
    if primary is not None and latencies_ms:
        return Axes(latencies_ms, scores, latency, primary, more_is_better=True)
    if latencies_ms:
        return Axes(latencies_ms, sizes_mb, latency, size, more_is_better=False)
    if primary is not None and scores:
        return Axes(sizes_mb, scores, size, primary, more_is_better=True)
    return None


def draw_pareto(
    candidates: Sequence[Candidate], *, title: str, primary: str | None, checkpoint_score: float | None
) -> bytes | None:
    """The picture as PNG, on white; None where there is nothing to hold against each other.

    Args:
        candidates: the files; where some have a latency, those without are left out.
        title: of the picture.
        primary: name of the metric; None where nothing was scored.
        checkpoint_score: drawn as a line, or None.
    """
    timed = [candidate for candidate in candidates if candidate.latency_ms is not None]
    shown = timed or list(candidates)
    axes = choose_axes(shown, primary=primary)
    if axes is None:
        return None
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # not pyplot: no window, no global state
    from matplotlib.figure import Figure

    figure = Figure(figsize=INCHES, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    plot = figure.subplots()
    plot.set_title(title, parse_math=False, loc="left")
    plot.set_xlabel(axes.x_label, parse_math=False)
    plot.set_ylabel(axes.y_label, parse_math=False)
    plot.grid(alpha=0.3)
    _scale(plot, axes)
    lines = _draw_front(plot, axes)
    if axes.more_is_better and checkpoint_score is not None:
        lines.append(_draw_checkpoint(plot, checkpoint_score, far=2 * max(axes.x)))
    largest_bytes = max(candidate.size_bytes for candidate in shown)
    order = sorted(range(len(shown)), key=lambda k: -shown[k].size_bytes)  # a small marker lies on a large one
    marks = [_draw_candidate(plot, shown[k], axes, index=k, largest_bytes=largest_bytes) for k in order]
    _legend(plot, shown)
    canvas.draw()  # fixes the layout, which the places of labels depend on
    place_labels(plot, sorted(marks, key=lambda mark: mark.x), lines=lines)
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=DPI, format="png")
    return buffer.getvalue()


def _scale(plot: Any, axes: Axes) -> None:
    plot.margins(x=0.2, y=0.2)
    if not max(axes.x) > LOG_FROM_RATIO * min(axes.x) > 0:
        plot.set_xlim(0, max(axes.x) * 1.2)
        return
    from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

    plot.set_xscale("log")
    plot.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    plot.xaxis.set_major_formatter(ScalarFormatter())
    plot.xaxis.set_minor_formatter(NullFormatter())


def _draw_front(plot: Any, axes: Axes) -> list[Line]:
    """Steps from the first file of the front to the last; their lines in data coordinates."""
    points = [(axes.x[k], axes.y[k]) for k in axes.front]
    corners = points[:1]
    for x, y in points[1:]:
        corners += [(x, corners[-1][1]), (x, y)]
    plot.plot(*zip(*corners, strict=True), color=GREY, linewidth=1, zorder=1, label="Pareto front")
    return list(zip(corners, corners[1:], strict=False))


def _draw_checkpoint(plot: Any, score: float, *, far: float) -> Line:
    plot.axhline(score, color=GREY, linestyle="--", linewidth=1, label=f"{CHECKPOINT} {score:.3f}")
    return ((1e-9, score), (far, score))


def _draw_candidate(plot: Any, candidate: Candidate, axes: Axes, *, index: int, largest_bytes: int) -> Mark:
    x, y = axes.x[index], axes.y[index]
    colour, on_front = COLOURS[candidate.precision], index in axes.front
    low = high = y
    if axes.more_is_better and candidate.interval is not None:  # an interval of the bootstrap may leave its score out
        low, high = min(y, candidate.interval.low), max(y, candidate.interval.high)
        plot.errorbar(x, y, yerr=[[y - low], [high - y]], color=colour, capsize=3, linewidth=1, zorder=2)
    area = max(SMALLEST_AREA, LARGEST_AREA * candidate.size_bytes / largest_bytes)
    plot.scatter(
        [x],
        [y],
        s=area,
        marker=MARKERS[candidate.format],
        facecolor=colour if on_front else "white",
        edgecolor=colour,
        alpha=0.85,
        linewidth=1.4,
        zorder=3,
    )
    text = f"{candidate.precision} {candidate.format}\n{candidate.size_bytes / BYTES_PER_MB:.2f} MB"
    return Mark(x, y, low, high, radius_points=area**0.5 / 2, text=text, colour=colour)


def _legend(plot: Any, shown: Sequence[Candidate]) -> None:
    """Formats by shape, precisions by colour, and what filling and area mean."""
    from matplotlib.lines import Line2D

    entries = [*plot.get_legend_handles_labels()[0]]
    for name in dict.fromkeys(candidate.format for candidate in shown):
        entries.append(Line2D([], [], marker=MARKERS[name], linestyle="", color=GREY, fillstyle="none", label=name))
    for name in dict.fromkeys(candidate.precision for candidate in shown):
        entries.append(Line2D([], [], marker="_", markersize=12, linestyle="", color=COLOURS[name], label=name))
    entries.append(Line2D([], [], marker="o", linestyle="", color=GREY, label="filled: on the front"))
    entries.append(Line2D([], [], linestyle="", label="area: size of the file"))
    plot.legend(handles=entries, fontsize="small", loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
