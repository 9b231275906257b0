"""A label that does not flicker, at any rate of frames."""

from __future__ import annotations

import numpy as np
import pytest

from cvforge_edge.errors import SpecError
from cvforge_edge.steps.label_smoother import LabelSmoother
from cvforge_edge.types import ClassScores, Detections
from edge.sink_results import result


def labels_of(smoother: LabelSmoother, first_class: list[float], *, step_s: float = 0.1) -> list[int]:
    shown = [smoother.smooth(np.array([p, 1 - p], np.float32), time_s=step_s * i) for i, p in enumerate(first_class)]
    return [int(one.argmax()) for one in shown]


def test_single_wrong_frames_do_not_change_the_label():
    noisy = [0.9, 0.9, 0.1, 0.9, 0.2, 0.9, 0.9]
    assert labels_of(LabelSmoother(over_s=0.5), noisy) == [0] * 7


def test_a_lasting_change_changes_the_label_once():
    shown = labels_of(LabelSmoother(over_s=0.3), [0.9] * 5 + [0.1] * 20)
    assert shown[:6] == [0] * 6
    assert shown[-10:] == [1] * 10
    assert np.count_nonzero(np.diff(shown)) == 1


def test_classes_of_nearly_equal_strength_keep_the_label_that_was_first():
    wobble = [0.52, 0.48, 0.49, 0.47, 0.52, 0.47] * 5
    assert labels_of(LabelSmoother(over_s=0.05, lead=0.1), wobble) == [0] * 30
    assert set(labels_of(LabelSmoother(over_s=0.05, lead=0.0), wobble)) == {0, 1}


def test_the_mean_is_the_same_for_one_long_step_and_many_short_ones():
    one, many = LabelSmoother(over_s=0.7), LabelSmoother(over_s=0.7)
    start, later = np.array([1, 0], np.float32), np.array([0.4, 0.6], np.float32)
    one.smooth(start, time_s=0.0)
    many.smooth(start, time_s=0.0)
    steps = [many.smooth(later, time_s=0.1 * i) for i in range(1, 11)]
    assert steps[-1] == pytest.approx(one.smooth(later, time_s=1.0))
    assert sorted(steps[-1]) == pytest.approx(sorted(later + (start - later) * np.exp(-1 / 0.7)))


def test_probabilities_stay_a_distribution_and_are_never_off_by_more_than_the_lead():
    random = np.random.default_rng(0)
    smoother, mean = LabelSmoother(over_s=0.2, lead=0.15), None
    for i in range(200):
        probs = random.dirichlet([1, 1, 1]).astype(np.float32)
        mean = probs if mean is None else mean + (1 - np.exp(-0.1 / 0.2)) * (probs - mean)
        shown = smoother.smooth(probs, time_s=0.1 * i)
        assert shown.sum() == pytest.approx(1, abs=1e-5)
        assert np.abs(shown - mean).max() < 0.15 + 1e-5


def test_time_that_goes_backwards_begins_anew():
    smoother = LabelSmoother(over_s=5.0)
    smoother.smooth(np.array([1, 0], np.float32), time_s=9.0)
    assert smoother.smooth(np.array([0, 1], np.float32), time_s=0.0).tolist() == [0, 1]


def test_as_a_step_it_leaves_the_given_result_alone():
    smoother = LabelSmoother(over_s=0.5)
    given = [result(i, prediction=ClassScores(np.array([1 - i, i], np.float32))) for i in range(2)]
    smoothed = [smoother.apply(one).prediction.top(1)[0][0] for one in given]
    assert smoothed == [0, 0]
    assert given[1].prediction.probs.tolist() == [0, 1]


def test_other_predictions_and_settings_out_of_range_are_refused():
    with pytest.raises(SpecError, match="found Detections, accepted ClassScores"):
        LabelSmoother(over_s=0.5).apply(result(prediction=Detections.empty()))
    for wrong in ({"over_s": 0.0}, {"over_s": float("nan")}, {"over_s": 1.0, "lead": 1.5}):
        with pytest.raises(SpecError, match="accepted over_s > 0, lead 0 to 1"):
            LabelSmoother(**wrong)
