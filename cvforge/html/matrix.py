"""A confusion matrix as a table that can be read and listened to: shares as colour, counts as text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

RIGHT_RGB, WRONG_RGB = "11,110,153", "196,86,26"
STRONGEST = 0.65
"""Opacity of a whole row in one cell; more would hide its number."""
STYLE = """
.matrix { border-collapse: separate; border-spacing: 2px; font-size: .85rem; }
.matrix th, .matrix td { border: 0; padding: .25rem .45rem; text-align: center; font-weight: 400; }
.matrix td { min-width: 2.2rem; border-radius: 3px; background: var(--cell); } .matrix td.none { color: var(--quiet); }
.matrix thead th { vertical-align: bottom; padding: .25rem 0; }
.matrix thead th span { writing-mode: vertical-rl; transform: rotate(180deg); max-height: 10rem; overflow: hidden; }
.matrix tbody th { position: sticky; left: 0; text-align: right; background: var(--paper); max-width: 12rem; overflow: hidden;
  text-overflow: ellipsis; }
"""


@dataclass(frozen=True)
class Matrix:
    """Which class is taken for which.

    Attributes:
        name: for files: letters and `-`.
        title: above it.
        labels: of the rows and of the columns.
        counts: (row, column): true class, predicted class.
        unit: what is counted, in the plural.
        note: what the numbers mean.
        percent: whether cells show the share of their row instead of the count.
    """

    name: str
    title: str
    labels: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]
    unit: str
    note: str
    percent: bool = False

    def share(self, row: int, column: int) -> float:
        """Of the row; 0 for an empty one."""
        total = sum(self.counts[row])
        return self.counts[row][column] / total if total else 0.0

    def text(self, row: int, column: int) -> str:
        """What a cell says; nothing where the count is 0."""
        if not self.counts[row][column]:
            return ""
        if not self.percent:
            return str(self.counts[row][column])
        share = self.share(row, column)
        return f"{share:.0%}" if share >= 0.01 else "<1%"


def most_confused(matrix: Matrix, count: int) -> Matrix:
    """The classes with the most mistakes, in their order, and all others as one."""
    size = len(matrix.labels)
    if size <= count:
        return matrix
    rows = [sum(row) for row in matrix.counts]
    columns = [sum(row[k] for row in matrix.counts) for k in range(size)]
    mistakes = [rows[k] + columns[k] - 2 * matrix.counts[k][k] for k in range(size)]
    kept = sorted(sorted(range(size), key=lambda k: -mistakes[k])[:count])
    groups = [[k] for k in kept] + [sorted(set(range(size)) - set(kept))]
    counts = tuple(tuple(sum(matrix.counts[i][j] for i in a for j in b) for b in groups) for a in groups)
    labels = (*(matrix.labels[k] for k in kept), f"{size - count} others")
    note = f"{matrix.note} Shown are the {count} classes with the most mistakes; the others are taken together."
    return Matrix(matrix.name, matrix.title, labels, counts, matrix.unit, note, matrix.percent)


def matrix_table(matrix: Matrix) -> str:
    """The matrix alone; `note` says what it means."""
    size = range(len(matrix.labels))
    head = "".join(f'<th scope="col"><span>{escape(label)}</span></th>' for label in matrix.labels)
    rows = "".join(
        f'<tr><th scope="row">{escape(matrix.labels[i])}</th>{"".join(_cell(matrix, i, j) for j in size)}</tr>'
        for i in size
    )
    name = escape(matrix.title, quote=True)
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{name}"><table class="matrix">'
        f"<thead><tr><td></td>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _cell(matrix: Matrix, row: int, column: int) -> str:
    text = matrix.text(row, column)
    if not text:
        return '<td class="none">·</td>'
    rgb = RIGHT_RGB if row == column else WRONG_RGB
    share = matrix.share(row, column)
    said = f"{matrix.counts[row][column]} {matrix.unit} of {matrix.labels[row]} as {matrix.labels[column]}: {share:.1%}"
    colour = f"rgba({rgb},{STRONGEST * share:.2f})"
    return f'<td style="--cell:{colour}" title="{escape(said, quote=True)}">{escape(text)}</td>'


def as_counts(rows: Sequence[Sequence[int]]) -> tuple[tuple[int, ...], ...]:
    """Any rows of whole numbers as those of a matrix."""
    return tuple(tuple(int(count) for count in row) for row in rows)
