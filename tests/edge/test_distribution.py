"""Distributions and class amounts fed in pieces, against numpy on all values at once."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from cvforge_edge.errors import SpecError
from cvforge_edge.stats.class_amounts import ClassAmounts
from cvforge_edge.stats.distribution import Bins, Distribution

BINS = Bins(0.0, 10.0, 20)


def distribution(values: Any, bins: Bins = BINS) -> Distribution:
    made = Distribution(bins)
    made.add(np.asarray(values, np.float64))
    return made


def test_a_distribution_fed_in_pieces_agrees_with_numpy_on_the_whole() -> None:
    values = np.random.default_rng(0).gamma(2.0, 1.0, 1000)
    made = Distribution(Bins(0.0, 10.0, 20))
    for piece in np.split(values, [1, 1, 7, 400]):
        made.add(piece)
    assert made.count == 1000
    assert made.mean == pytest.approx(values.mean(), rel=1e-13)
    assert made.variance == pytest.approx(values.var(), rel=1e-12)
    assert (made.minimum, made.maximum) == (values.min(), values.max())
    assert made.counts.tolist() == np.histogram(np.minimum(values, 9.99), 20, (0, 10))[0].tolist()


def test_the_variance_of_small_differences_beside_a_large_mean_keeps_its_digits() -> None:
    values = 1e9 + np.array([4.0, 7.0, 13.0, 16.0])
    made = Distribution(Bins(0.0, 1.0, 1))
    for value in values:
        made.add(np.array([value]))
    assert made.variance == 22.5


def test_values_outside_the_bins_count_in_the_first_and_last_but_keep_their_mean() -> None:
    made = distribution([-5.0, 0.0, 0.5, 10.0, 25.0])
    assert (made.counts[0], made.counts[1], made.counts[-1]) == (2, 1, 2)
    assert (made.mean, made.minimum, made.maximum) == (6.1, -5.0, 25.0)


@pytest.mark.parametrize("share", [0.0, 0.05, 0.25, 0.5, 0.9, 1.0])
def test_quantiles_are_right_to_within_a_bin(share: float) -> None:
    values = np.random.default_rng(1).uniform(1, 9, 5000)
    assert distribution(values).quantile(share) == pytest.approx(np.quantile(values, share), abs=0.5)


def test_quantiles_of_one_value_are_that_value_and_of_none_are_refused() -> None:
    assert [distribution([3.3]).quantile(share) for share in (0.0, 0.5, 1.0)] == [3.3, 3.3, 3.3]
    with pytest.raises(SpecError, match="quantile: found share 0.5 of 0 values"):
        distribution([]).quantile(0.5)
    with pytest.raises(SpecError, match="found share 1.5"):
        distribution([1.0]).quantile(1.5)


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_no_number_is_refused_and_changes_nothing(wrong: float) -> None:
    made = distribution([1.0])
    with pytest.raises(SpecError, match="NaN or Infinity"):
        made.add(np.array([2.0, wrong]))
    assert (made.count, made.mean) == (1, 1.0)


def test_distributions_of_other_bins_are_not_merged() -> None:
    with pytest.raises(SpecError, match="other bins"):
        distribution([1.0]).merge(distribution([1.0], Bins(0.0, 10.0, 10)))


def test_class_amounts_agree_with_numpy_and_their_totals_are_exact() -> None:
    amounts = np.random.default_rng(2).integers(0, 9, (100, 3))
    parts = [ClassAmounts(3), ClassAmounts(3)]
    for index, row in enumerate(amounts):
        parts[index > 30].add(row)
    parts[0].merge(parts[1])
    assert parts[0].totals.tolist() == amounts.sum(0).tolist()
    assert parts[0].means == pytest.approx(amounts.mean(0))
    assert parts[0].variances == pytest.approx(amounts.var(0), rel=1e-12)
    with pytest.raises(SpecError, match=r"found \(2,\), expected \(3,\)"):
        parts[0].add(np.zeros(2))
