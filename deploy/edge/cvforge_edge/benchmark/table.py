"""The costs of files as rows of text: for terminals, pages and documents alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cvforge_edge.benchmark.cost import FileCost, NotMeasured, ThreadLatency
from cvforge_edge.latency import StageLatency

NOT_MEASURED = "not measured"


def cost_header(costs: Mapping[str, FileCost | NotMeasured]) -> tuple[str, ...]:
    """Column titles that fit `cost_rows`, without the first."""
    found = [cost for cost in costs.values() if isinstance(cost, FileCost)]
    first = found[0].first.threads if found else 1
    return (f"{threads_text(first)}, ms", "best (threads)", "pipeline, ms", "memory, MB", "start, ms")


def cost_rows(costs: Mapping[str, FileCost | NotMeasured]) -> list[tuple[str, ...]]:
    """For each file its name, p50 and p95 of the network, of the fastest number of threads, pipeline, memory, start."""
    return [(path, *_cells(cost)) for path, cost in costs.items()]


def _cells(cost: FileCost | NotMeasured) -> tuple[str, ...]:
    if isinstance(cost, NotMeasured):
        return (NOT_MEASURED, "", "", "", "")
    return (
        latency_text(cost.first.network),
        fastest_text(cost.fastest),
        latency_text(cost.first.pipeline),
        f"{cost.memory_mb.median:.0f}",
        f"{cost.cold_start_ms.median:.0f}",
    )


def latency_text(latency: StageLatency) -> str:
    """p50 and, in brackets, p95.

    >>> latency_text(StageLatency(8.123, 12.5))
    '8.1 [12.5]'
    """
    return f"{latency.p50_ms:.1f} [{latency.p95_ms:.1f}]"


def fastest_text(latency: ThreadLatency) -> str:
    """p50 of the network and the number of threads that gave it."""
    return f"{latency.network.p50_ms:.1f} ({latency.threads})"


def threads_text(threads: int) -> str:
    """A number of threads.

    >>> threads_text(1), threads_text(4)
    ('1 thread', '4 threads')
    """
    return "1 thread" if threads == 1 else f"{threads} threads"


def text_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as their longest cell, the first on the left, the others on the right."""
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]
    lines = []
    for row in (header, ["-" * width for width in widths], *rows):
        cells = [
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
