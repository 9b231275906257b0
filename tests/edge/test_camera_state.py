"""The states of a camera follow their table, and nothing but the table."""

from __future__ import annotations

from itertools import product
from typing import get_args

import pytest

from cvforge_edge.errors import UsageError
from cvforge_edge.sources import state as state_module
from cvforge_edge.sources.limits import LiveLimits, pauses_s
from cvforge_edge.sources.state import TRANSITIONS, CameraState, Happening, State

STATES, HAPPENINGS = get_args(State), get_args(Happening)


@pytest.mark.parametrize(("state", "happening"), list(product(STATES, HAPPENINGS)))
def test_every_state_answers_every_happening_as_the_table_says(state, happening):
    camera = CameraState(since_s=1.0, name=state)
    left = camera.note(happening, now_s=2.0)
    after = TRANSITIONS.get((state, happening))
    assert (left, camera.name, camera.since_s) == ((state, after, 2.0) if after else (None, state, 1.0))
    assert camera.reconnects == (1 if (state, happening) == ("lost", "frame") else 0)


def test_documented_table_is_the_one_that_is_followed():
    rows = [line.split("|")[1:-1] for line in state_module.__doc__.splitlines() if line.startswith("| `")]
    written = {}
    for name, *cells in rows:
        for happening, cell in zip(("frame", "silence", "loss", "close"), cells, strict=True):
            if cell.strip():
                written[name.split("`")[1], happening] = cell.split("`")[1]
    assert written == TRANSITIONS


def test_only_a_frame_makes_a_camera_live_and_closed_is_for_good():
    assert {happening for (_, happening), after in TRANSITIONS.items() if after == "live"} == {"frame"}
    assert not [before for before, _ in TRANSITIONS if before == "closed"]


def test_pauses_double_to_the_longest_and_are_shortened_at_random():
    limits = LiveLimits(first_pause_s=0.25, longest_pause_s=1.0)
    longest = pauses_s(limits, uniform=lambda low, high: high)
    assert [next(longest) for _ in range(5)] == [0.25, 0.5, 1.0, 1.0, 1.0]
    shortest = pauses_s(limits, uniform=lambda low, high: low)
    assert [next(shortest) for _ in range(4)] == [0.125, 0.25, 0.5, 0.5]


@pytest.mark.parametrize(("stall_s", "lost_s"), [(5.0, 5.0), (6.0, 5.0), (0.0, 5.0)])
def test_a_camera_that_would_be_lost_before_it_is_stalled_is_refused(stall_s, lost_s):
    with pytest.raises(UsageError, match="accepted: 0 < stall-after < lost-after") as caught:
        LiveLimits(stall_after_s=stall_s, lost_after_s=lost_s)
    assert caught.value.exit_code == 2
