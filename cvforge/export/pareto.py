"""Which files of an export are worth choosing: those than which no other is both quicker and better."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cvforge.export.verify import Verdict
from cvforge_edge.benchmark.cost import FileCost, NotMeasured
from cvforge_edge.interval import ScoreInterval


@dataclass(frozen=True)
class Candidate:
    """One file.

    Attributes:
        path: in the bundle.
        format: `onnx` or `tflite`.
        precision: `fp32`, `fp16` or `int8`.
        size_bytes: of the file.
        latency_ms: p50 of the network with one thread; None where it was not measured.
        score: the task's metric; None where nothing was scored.
        interval: where the score lies, or None.
    """

    path: str
    format: str
    precision: str
    size_bytes: int
    latency_ms: float | None
    score: float | None
    interval: ScoreInterval | None


def candidates(
    verdicts: Sequence[Verdict], costs: Mapping[str, FileCost | NotMeasured], *, primary: str | None
) -> list[Candidate]:
    """The files of an export.

    Args:
        verdicts: one a file.
        costs: of the files; may be empty.
        primary: name of the task's metric; None where nothing was scored.
    """
    found = []
    for verdict in verdicts:
        cost, model = costs.get(verdict.model.path), verdict.model
        found.append(
            Candidate(
                path=model.path,
                format=model.format,
                precision=model.precision,
                size_bytes=model.size_bytes,
                latency_ms=cost.first.network.p50_ms if isinstance(cost, FileCost) else None,
                score=verdict.metrics[primary] if primary is not None else None,
                interval=verdict.interval,
            )
        )
    return found


def pareto_front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Indices of the points than which no other is better, from the lowest first coordinate on.

    A point is better than another if it is not above it in either coordinate, and below it in one. Equal points are all
    on the front.

    Args:
        points: two quantities of which less is better.

    >>> pareto_front([(1, 5), (2, 3), (3, 4), (4, 1)])
    [0, 1, 3]
    """
    front: list[int] = []
    lowest = float("inf")
    for index in sorted(range(len(points)), key=lambda k: points[k]):
        if points[index][1] < lowest or (front and points[index] == points[front[-1]]):
            front.append(index)
            lowest = points[index][1]
    return front
