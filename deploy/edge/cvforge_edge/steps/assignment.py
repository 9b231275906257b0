"""Which row belongs to which column, so that the sum of their weights is the largest possible."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Indices = npt.NDArray[np.int64]


def heaviest_pairs(weights: Floats) -> Indices:
    """Pairs of rows and columns with the largest sum of weights, each row and each column in one pair at most.

    Exact. Entries that are not above 0 are never paired. Shortest augmenting paths over what is left when pairs without
    a rival are taken out. Source: Jonker and Volgenant 1987; Crouse 2016, On implementing 2D rectangular assignment
    algorithms, III.

    Args:
        weights: (n, m) finite.

    Returns:
        (k, 2) int64 row and column of each pair, by row.

    >>> heaviest_pairs(np.array([[0.9, 0.8], [0.8, 0.0]])).tolist()
    [[0, 1], [1, 0]]
    """
    candidates = weights > 0
    rivals_of_row, rivals_of_column = candidates.sum(1), candidates.sum(0)
    alone = candidates & (rivals_of_row == 1)[:, None] & (rivals_of_column == 1)[None, :]
    pairs = np.argwhere(alone)
    rivals_of_row[pairs[:, 0]] = 0
    rivals_of_column[pairs[:, 1]] = 0
    rows, columns = np.flatnonzero(rivals_of_row), np.flatnonzero(rivals_of_column)
    if len(rows):
        contested = _solve(np.maximum(weights[np.ix_(rows, columns)], 0))
        found = np.stack([rows[contested[:, 0]], columns[contested[:, 1]]], 1)
        pairs = np.concatenate([pairs, found[candidates[found[:, 0], found[:, 1]]]])
    return pairs[np.argsort(pairs[:, 0], kind="stable")].astype(np.int64, copy=False)  # type: ignore[no-any-return]


def _solve(weights: Floats) -> Indices:
    """A pair for every row, or every column where there are fewer of them."""
    if weights.shape[0] > weights.shape[1]:
        return _solve(weights.T)[:, ::-1]
    costs = -weights
    row_prices, column_prices = np.zeros(costs.shape[0]), np.zeros(costs.shape[1])
    row_of_column = np.full(costs.shape[1], -1, np.int64)
    for row in range(costs.shape[0]):
        _add_row(row, costs, row_prices, column_prices, row_of_column)
    columns = np.flatnonzero(row_of_column >= 0)
    return np.stack([row_of_column[columns], columns], 1)


def _add_row(new_row: int, costs: Floats, row_prices: Floats, column_prices: Floats, row_of_column: Indices) -> None:
    """Pair one row more along the cheapest path of exchanges; the last three arrays are changed in place."""
    count = costs.shape[1]
    path_cost, before = np.full(count, np.inf), np.full(count, -1, np.int64)
    done = np.zeros(count, np.bool_)
    row, column, cost = new_row, -1, 0.0
    while row >= 0:
        through_row = cost + costs[row] - row_prices[row] - column_prices
        cheaper = (through_row < path_cost) & ~done
        path_cost[cheaper], before[cheaper] = through_row[cheaper], column
        column = int(np.where(done, np.inf, path_cost).argmin())
        cost = float(path_cost[column])
        done[column] = True
        row = int(row_of_column[column])
    slack = cost - path_cost[done]
    paired = row_of_column[done]
    row_prices[paired[paired >= 0]] += slack[paired >= 0]
    row_prices[new_row] += cost
    column_prices[done] -= slack
    while column >= 0:
        earlier = int(before[column])
        row_of_column[column] = new_row if earlier < 0 else row_of_column[earlier]
        column = earlier
