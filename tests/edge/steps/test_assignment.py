"""Pairs of the largest total weight, held against scipy's own solver."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from cvforge_edge.steps.assignment import heaviest_pairs


@pytest.mark.parametrize("decimals", [1, 9], ids=["many ties", "no ties"])
def test_the_sum_of_weights_is_the_one_that_scipy_finds(decimals):
    random = np.random.default_rng(decimals)
    for _ in range(300):
        rows, columns = random.integers(1, 12, 2)
        weights = np.round(random.random((rows, columns)), decimals) - random.random()
        pairs = heaviest_pairs(weights)
        found = weights[pairs[:, 0], pairs[:, 1]]
        gains = np.maximum(weights, 0)
        assert found.sum() == pytest.approx(gains[linear_sum_assignment(-gains)].sum())
        assert (found > 0).all()
        assert len(set(pairs[:, 0])) == len(set(pairs[:, 1])) == len(pairs)
        assert (np.diff(pairs[:, 0]) > 0).all()


def test_a_greedy_choice_would_lose():
    assert heaviest_pairs(np.array([[0.9, 0.8], [0.8, 0.0]])).tolist() == [[0, 1], [1, 0]]


def test_one_strong_pair_is_better_than_two_weak_ones():
    assert heaviest_pairs(np.array([[0.9, 0.1], [0.1, -1.0]])).tolist() == [[0, 0]]


@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (3, 0)])
def test_nothing_to_pair_gives_no_pairs(shape):
    assert heaviest_pairs(np.zeros(shape)).shape == (0, 2)


def test_weights_of_zero_or_less_are_never_paired_and_weights_stay_as_they_are():
    weights = np.array([[0.0, -1.0, 0.5], [-0.5, 0.0, 0.25]])
    before = weights.copy()
    assert heaviest_pairs(weights).tolist() == [[0, 2]]
    assert (weights == before).all()
