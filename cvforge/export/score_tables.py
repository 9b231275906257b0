"""The scores of an export as tables of text: one row a file, one row a class."""

from __future__ import annotations

from collections.abc import Sequence

from cvforge.export.reference import ClassEvidence
from cvforge.export.verify import Reference, Verdict
from cvforge_edge.interval import ScoreInterval
from cvforge_edge.manifest import CHECKPOINT
from cvforge_edge.postprocess import EMBEDDING
from cvforge_edge.types import Task

BYTES_PER_MB = 1e6
CLASSES_SHOWN = 100
CLASS_SCORE = {Task.CLASSIFICATION: "recall", Task.DETECTION: "ap", Task.SEGMENTATION: "iou"}


def score_text(value: float, interval: ScoreInterval | None) -> str:
    """A score and where it lies.

    >>> score_text(0.5786, ScoreInterval(0.5412, 0.6118, 0.95))
    '0.579 [0.541, 0.612]'
    """
    return f"{value:.3f} {interval}" if interval is not None else f"{value:.3f}"


def difference_text(value: float, interval: ScoreInterval | None) -> str:
    """A difference to the checkpoint and where it lies; one digit more than scores have, since budgets are small.

    >>> difference_text(0.0011, ScoreInterval(-0.0004, 0.0031, 0.95))
    '+0.0011 [-0.0004, +0.0031]'
    """
    if interval is None:
        return _signed(value)
    return f"{_signed(value)} [{_signed(interval.low)}, {_signed(interval.high)}]"


def _signed(value: float) -> str:
    return f"{round(value, 4) + 0.0:+.4f}"  # adding 0 turns -0.0 into 0.0


def file_rows(
    verdicts: Sequence[Verdict], reference: Reference, *, first: str = CHECKPOINT
) -> list[tuple[str, str, str, str, str]]:
    """For the checkpoint and each file: name, score, difference, size in MB, worst error of a raw output.

    Args:
        verdicts: one a file.
        reference: the checkpoint.
        first: what the checkpoint is called.
    """
    if reference.primary is None:
        raise ValueError("file_rows: nothing was scored; use comparison_rows")
    primary, expected = reference.primary, reference.metrics[reference.primary]
    rows = [(first, score_text(expected, reference.interval), "", "", "")]
    for verdict, (path, size_mb, error) in zip(verdicts, comparison_rows(verdicts), strict=True):
        value = verdict.metrics.get(primary)
        score, difference = "not scored", ""
        if value is not None:
            score = score_text(value, verdict.interval)
            difference = difference_text(value - expected, verdict.difference)
        rows.append((path, score, difference, size_mb, error))
    return rows


def comparison_rows(verdicts: Sequence[Verdict]) -> list[tuple[str, str, str]]:
    """For each file, scored or not: name, size in MB, worst error of a raw output that predictions are made of."""
    return [
        (
            verdict.model.path,
            f"{verdict.model.size_bytes / BYTES_PER_MB:.2f}",
            f"{max(error for role, error in verdict.parity.items() if role != EMBEDDING):.1e}",
        )
        for verdict in verdicts
    ]


def agreement_rows(verdicts: Sequence[Verdict]) -> list[tuple[str, ...]]:
    """A header, and for each file: name, and how far what it reports is what the checkpoint reports; empty if unknown."""
    known = [(verdict.model.path, verdict.agreement) for verdict in verdicts if verdict.agreement is not None]
    if not known:
        return []
    return [("file", *known[0][1].COLUMNS), *((path, *agreement.cells()) for path, agreement in known)]


def class_rows(task: Task, labels: Sequence[str], reference: Reference) -> list[tuple[str, ...]]:
    """A header and for each class: its name, the checkpoint's score of it, and how much truth that rests on.

    Of more than 100 classes only the 100 with the lowest scores are listed, so that a page stays a page.
    """
    evidence = reference.evidence
    scores = class_scores(task, labels, reference)
    chosen = range(len(labels))
    if len(labels) > CLASSES_SHOWN:
        lowest = sorted(chosen, key=lambda k: (scores[k] is None, scores[k] or 0.0, k))
        chosen = lowest[:CLASSES_SHOWN]
    header = ("class", CLASS_SCORE[task], *(("objects",) if task is Task.DETECTION else ()), "pictures")
    return [header, *(_class_row(task, labels[k], scores[k], k, evidence) for k in chosen)]


def class_scores(task: Task, labels: Sequence[str], reference: Reference) -> list[float | None]:
    """The checkpoint's score of each class, in the order of the labels; None where it is undefined."""
    return [reference.metrics.get(f"{CLASS_SCORE[task]}/{label}") for label in labels]


def _class_row(
    task: Task, label: str, score: float | None, class_id: int, evidence: ClassEvidence | None
) -> tuple[str, ...]:
    counts = [evidence.images] if evidence is not None else []
    if evidence is not None and task is Task.DETECTION:
        counts = [evidence.objects, evidence.images]
    text = "not measured" if score is None else f"{score:.3f}"
    return (label, text, *(str(int(count[class_id])) for count in counts))
