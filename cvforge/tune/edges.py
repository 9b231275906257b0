"""Finds out before the first trial whether the config accepts the outermost values of every range, also together."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, product

from cvforge.config.load import load
from cvforge.config.schema import Config
from cvforge.errors import ConfigError
from cvforge.tune.space import Parameter

Pair = tuple[tuple[int, int], tuple[int, int]]
"""(parameter, edge) of one and of another parameter."""


def check_edges(config: str, overrides: list[str], parameters: Sequence[Parameter]) -> Config:
    """Check the config with choices and ends of ranges, so that any two of them were checked together.

    Returns:
        The config with the first edge of each parameter.

    Raises:
        ConfigError: some do not fit; the message lists every problem once.
    """
    problems: dict[str, None] = {}
    first: Config | None = None
    for row in covering_rows([len(p.values.edges) for p in parameters]):
        drawn = [p.override(p.values.edges[edge]) for p, edge in zip(parameters, row, strict=True)]
        try:
            loaded = load(config, [*overrides, *drawn])
            first = first or loaded
        except ConfigError as error:
            lines = str(error).splitlines()
            problems |= dict.fromkeys(lines[1:] or lines)
    if problems or first is None:
        raise ConfigError("\n".join(["the search space, tried at its edges:", *(f"  {p.strip()}" for p in problems)]))
    return first


def covering_rows(counts: Sequence[int]) -> list[tuple[int, ...]]:
    """Few rows of indices, one of each count, in which any two indices of two columns meet; the first is all zeros.

    Greedy, after Cohen et al. 1997, "The AETG system": each row takes, column by column, what meets most new partners.
    """
    open_pairs: set[Pair] = {
        ((a, i), (b, j))
        for a, b in combinations(range(len(counts)), 2)
        for i, j in product(range(counts[a]), range(counts[b]))
    }
    open_single = {(column, index) for column, count in enumerate(counts) for index in range(count)}
    rows: list[tuple[int, ...]] = []
    row: tuple[int, ...] = (0,) * len(counts)
    while True:
        rows.append(row)
        open_single -= set(enumerate(row))
        open_pairs -= set(combinations(enumerate(row), 2))
        if not open_pairs and not open_single:
            return rows
        row = _next_row(counts, open_pairs, open_single)


def _next_row(counts: Sequence[int], open_pairs: set[Pair], open_single: set[tuple[int, int]]) -> tuple[int, ...]:
    """Begins with a pair that has not met, so that every row meets a new one."""
    row = dict(min(open_pairs)) if open_pairs else dict([min(open_single)])
    for column, count in enumerate(counts):
        if column in row:
            continue
        gains = []
        for index in range(count):
            pairs = (tuple(sorted([(column, index), other])) for other in row.items())
            gains.append(sum(pair in open_pairs for pair in pairs) + ((column, index) in open_single))
        row[column] = gains.index(max(gains))
    return tuple(row[column] for column in range(len(counts)))
