"""The history of a run as a picture: losses, scores, learning rate."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytorch_lightning as pl

from cvforge.history import read_history

REDRAW_EVERY_S = 60.0
SMOOTHING_POINTS = 15
PANEL_INCHES = (9.0, 3.2)
DPI = 110


class Curves(pl.Callback):
    """Redraws the picture after validations, at most once a minute, and at the end.

    Args:
        history: the CSV file of `CsvHistory`.
        picture: where the PNG goes.
        title: said above it.
    """

    def __init__(self, history: Path, picture: Path, *, title: str) -> None:
        self.history, self.picture, self.title = history, picture, title
        self._drawn_s = time.monotonic()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Redraw when the last picture is old."""
        if trainer.is_global_zero and time.monotonic() - self._drawn_s > REDRAW_EVERY_S:
            draw_curves(self.history, self.picture, title=self.title)
            self._drawn_s = time.monotonic()


def draw_curves(history: Path, picture: Path, *, title: str) -> bool:
    """Draw the history file as PNG.

    Returns:
        Whether there was anything to draw.
    """
    rows = read_history(history)
    names = sorted({name for row in rows for name in row})
    panels = {
        "loss": [n for n in names if n.startswith("train/") and n != "train/lr"],
        "score": [n for n in names if n.startswith("val/")],
        "learning rate": [n for n in names if n == "train/lr"],
    }
    panels = {label: columns for label, columns in panels.items() if columns}
    if not panels:
        return False
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # not pyplot: no window, no global state
    from matplotlib.figure import Figure

    width, height = PANEL_INCHES
    figure = Figure(figsize=(width, height * len(panels)), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title)
    axes = np.atleast_1d(figure.subplots(len(panels), 1, sharex=True))
    for axis, (label, columns) in zip(axes, panels.items(), strict=True):
        for name in columns:
            _draw_column(axis, rows, name, smooth=label == "loss")
        axis.set_ylabel(label)
        axis.grid(alpha=0.3)
        axis.legend(fontsize="small", loc="best")
    axes[-1].set_xlabel("optimiser step")
    temporary = picture.with_suffix(".tmp.png")
    figure.savefig(temporary, dpi=DPI)
    temporary.replace(picture)
    return True


def _draw_column(axis, rows: list[dict[str, float]], name: str, *, smooth: bool) -> None:
    points = np.array([(row["step"], row[name]) for row in rows if name in row])
    label = name.partition("/")[2]
    if not smooth or len(points) < 2 * SMOOTHING_POINTS:
        axis.plot(points[:, 0], points[:, 1], marker="." if len(points) < 60 else None, label=label)
        return
    kernel = np.ones(SMOOTHING_POINTS) / SMOOTHING_POINTS
    means = np.convolve(points[:, 1], kernel, mode="valid")
    middles = points[SMOOTHING_POINTS // 2 : SMOOTHING_POINTS // 2 + len(means), 0]
    (line,) = axis.plot(middles, means, label=label)
    axis.plot(points[:, 0], points[:, 1], color=line.get_color(), alpha=0.2, linewidth=0.8)
