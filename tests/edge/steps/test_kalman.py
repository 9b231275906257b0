"""The filter of many boxes, held against the textbook's matrices with scipy's matrix exponential."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import expm

from cvforge_edge.steps import kalman
from cvforge_edge.steps.kalman import BoxMotion, center_size

BOX = np.array([[10, 20, 50, 120]], np.float32)
SEEN = np.array([True])


def textbook_step(mean, covariance, *, elapsed_s, noise, measured, measured_var):
    """Predict and correct one value and its rate. Source of the noise: Van Loan 1978, by the matrix exponential."""
    drift = np.array([[0.0, 1.0], [0.0, 0.0]])
    block = np.block([[-drift, np.diag([0.0, noise])], [np.zeros((2, 2)), drift.T]])
    exponential = expm(block * elapsed_s)
    transition = exponential[2:, 2:].T
    mean = transition @ mean
    covariance = transition @ covariance @ transition.T + transition @ exponential[:2, 2:]
    observed = np.array([[1.0, 0.0]])
    gain = covariance @ observed.T / (observed @ covariance @ observed.T + measured_var)
    return mean + (gain * (measured - mean[0])).ravel(), (np.eye(2) - gain @ observed) @ covariance


@pytest.mark.parametrize("column", range(4), ids=["centre x", "centre y", "width", "height"])
def test_estimates_are_those_of_the_textbook_at_uneven_times(column):
    random = np.random.default_rng(column)
    motion = BoxMotion.begin(BOX)
    mean = np.array([motion.values[0, column], 0.0])
    covariance = np.diag([motion.state[2, 0, column], motion.state[4, 0, column]])
    for elapsed_s in (0.04, 0.04, 0.2, 1.5, 0.033):
        box = (BOX + random.normal(0, 4, 4)).astype(np.float32)
        measured = center_size(box)[0]
        side = np.sqrt(motion.predict(0.0, seen=SEEN).values[0, 2:].prod())
        spread = kalman.CENTER_NOISE if column < 2 else kalman.SIZE_NOISE
        mean, covariance = textbook_step(
            mean,
            covariance,
            elapsed_s=elapsed_s,
            noise=(spread * side) ** 2,
            measured=measured[column],
            measured_var=(kalman.MEASURED_STD * measured[2 + column % 2]) ** 2,
        )
        motion = motion.predict(elapsed_s, seen=SEEN).correct(np.array([0]), box)
        assert motion.state[:2, 0, column] == pytest.approx(mean)
        assert motion.state[2:, 0, column] == pytest.approx(covariance[np.triu_indices(2)])


def test_a_steady_motion_is_learned_and_goes_on_while_the_box_is_hidden():
    motion = BoxMotion.begin(BOX)
    for frame in range(1, 31):
        step = np.array([3, -1, 3, -1], np.float32) * frame
        motion = motion.predict(0.1, seen=SEEN).correct(np.array([0]), BOX + step)
    hidden = motion.predict(0.5, seen=np.array([False]))
    assert motion.state[1, 0, :2] == pytest.approx([30, -10], rel=0.02)
    assert hidden.values[0] == pytest.approx([30 + 90 + 15, 70 - 30 - 5, 40, 100], abs=0.5)
    assert (hidden.center_std > motion.center_std).all()


def test_a_hidden_box_keeps_its_size_and_a_box_never_turns_inside_out():
    motion = BoxMotion.begin(BOX)
    motion.state[1, 0] = (0, 0, -400, 50)
    assert motion.predict(1.0, seen=np.array([False])).values[0, 2:].tolist() == [40, 100]
    assert motion.predict(1.0, seen=SEEN).values[0, 2:].tolist() == [kalman.SMALLEST_SIDE, 150]


def test_only_the_named_boxes_are_corrected_and_estimates_are_never_changed_in_place():
    motion = BoxMotion.begin(np.repeat(BOX, 3, 0))
    before = motion.state.copy()
    later = motion.predict(0.1, seen=np.ones(3, bool)).correct(np.array([1]), BOX + 5)
    assert (motion.state == before).all()
    assert (later.values[[0, 2]] == motion.values[[0, 2]]).all()
    assert (later.values[1, :2] > motion.values[1, :2]).all()


def test_boxes_are_selected_and_joined_in_order():
    motion = BoxMotion.begin(np.concatenate([BOX, BOX + 100]))
    joined = motion.select(np.array([False, True])).join(motion)
    assert joined.values[:, 0].tolist() == [130, 30, 130]
    assert len(joined) == 3
