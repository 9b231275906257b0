"""Reliability against scikit-learn's calibration curve and torchmetrics' definition by hand."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.calibration import calibration_curve

from cvforge.metrics.calibration import reliability


def test_bins_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    probabilities = rng.random(2000)
    right = rng.random(2000) < probabilities**1.5
    found = reliability(probabilities, right, bins=10)
    accuracy, confidence = calibration_curve(right, probabilities, n_bins=10, strategy="uniform")
    np.testing.assert_allclose(found.accuracy, accuracy)
    np.testing.assert_allclose(found.confidence, confidence)
    assert found.counts.sum() == 2000
    assert found.error == pytest.approx(np.average(np.abs(accuracy - confidence), weights=found.counts))
    assert 0.05 < found.error < 0.2


def test_a_hand_made_error() -> None:
    found = reliability(np.array([0.9, 0.9, 0.9, 0.9, 0.3, 1.0]), np.array([1, 1, 1, 0, 0, 1], np.bool_), bins=5)
    assert found.counts.tolist() == [1, 5]
    assert found.accuracy.tolist() == [0.0, 0.8]
    assert found.error == pytest.approx((1 * 0.3 + 5 * abs(0.8 - 0.92)) / 6)


def test_probabilities_at_the_ends_have_bins() -> None:
    found = reliability(np.array([0.0, 1.0]), np.array([False, True]))
    assert (found.counts.tolist(), found.error) == ([1, 1], 0.0)
