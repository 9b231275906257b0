"""Progress bars and tables: what a user of the commands sees."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

WIDTH_WITHOUT_TERMINAL = 120
CLASSES_SHOWN = 100


def stderr_console() -> Console:
    """Where progress goes, so that standard output holds results only."""
    console = Console(stderr=True)
    return console if console.is_terminal else Console(stderr=True, width=WIDTH_WITHOUT_TERMINAL)


def stdout_console() -> Console:
    """Where tables go; wide enough in a log file that nothing is cut."""
    console = Console()
    return console if console.is_terminal else Console(width=WIDTH_WITHOUT_TERMINAL)


class StageBars:
    """One line a stage: a spinner, and a bar where the stage counts its steps; plain lines where there is no terminal."""

    def __init__(self, progress: Progress, *, live: bool) -> None:
        self._progress = progress
        self._live = live
        self._task: int | None = None

    def __call__(self, title: str) -> Callable[[int, int], None]:
        """Begin a stage; the former one is done."""
        self.finish()
        if not self._live:
            self._progress.console.print(f"{title} ...", markup=False, highlight=False)
            return _unseen
        task = self._progress.add_task(title, total=None)
        self._task = task
        return lambda done, total: self._progress.update(task, completed=done, total=total)

    def finish(self) -> None:
        """Mark the newest stage as done."""
        if self._task is not None:
            total = self._progress.tasks[self._task].total or 1
            self._progress.update(self._task, total=total, completed=total)
            self._task = None


@contextmanager
def stage_bars() -> Iterator[StageBars]:
    """Progress on standard error while inside."""
    console = stderr_console()
    columns = (
        SpinnerColumn(finished_text="[green]done[/green]"),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        bars = StageBars(progress, live=console.is_terminal)
        yield bars
        bars.finish()


def metric_table(metrics: Mapping[str, float]) -> Table:
    """Overall metrics first, then those named `<metric>/<class>` under a line: the 100 lowest of more than 100."""
    table = Table(highlight=False)
    table.add_column("metric")
    table.add_column("value", justify="right")
    overall = [name for name in metrics if "/" not in name]
    for name in overall:
        table.add_row(name, f"{metrics[name]:.4f}", end_section=name == overall[-1])
    of_classes = [name for name in metrics if "/" in name]
    lowest = set(sorted(of_classes, key=lambda name: metrics[name])[:CLASSES_SHOWN])
    for name in of_classes:
        if name in lowest:
            table.add_row(name, f"{metrics[name]:.4f}")
    if len(of_classes) > CLASSES_SHOWN:
        table.caption = f"the {CLASSES_SHOWN} lowest of {len(of_classes)} classes"
    return table


def rows_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """A table whose first column is text and whose others are numbers."""
    table = Table(title=title, title_justify="left", title_style="bold", highlight=False)
    for index, column in enumerate(columns):
        table.add_column(column, justify="right" if index else "left", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    return table


def _unseen(done: int, total: int) -> None:
    """A stage without terminal says nothing between its beginning and its end."""
