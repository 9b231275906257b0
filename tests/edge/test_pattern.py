"""The test pattern is the same everywhere, shows its number, and comes at its rate or as fast as it can."""

from __future__ import annotations

import time

import numpy as np
import pytest

from cvforge_edge.camera import SourceSettings, open_source
from cvforge_edge.errors import SourceError
from cvforge_edge.sources.cadence import Cadence
from cvforge_edge.sources.pattern import PatternCapture, PatternSpec, parse_pattern, pattern_image


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("", PatternSpec((480, 640), 30, paced=True)),
        ("320x240", PatternSpec((240, 320), 30, paced=True)),
        ("320x240@5", PatternSpec((240, 320), 5, paced=True)),
        ("@max", PatternSpec((480, 640), 30, paced=False)),
    ],
)
def test_pattern_is_named_by_size_and_rate(text, spec):
    assert parse_pattern(text) == spec


@pytest.mark.parametrize("text", ["640", "640x480@", "640x480@0", "8x8", "640x480@fast", "9999x640"])
def test_what_is_no_pattern_is_refused_with_what_is_accepted(text):
    with pytest.raises(SourceError, match="accepted: test:, test:640x480") as caught:
        open_source(f"test:{text}")
    assert caught.value.exit_code == 8


def test_picture_depends_on_its_number_alone_and_every_number_looks_different():
    pictures = [pattern_image(index, size_hw=(240, 320), fps=30) for index in (*range(40), 0)]
    np.testing.assert_array_equal(pictures[0], pictures[-1])
    assert pictures[0].shape == (240, 320, 3)
    assert len({picture.tobytes() for picture in pictures}) == 40


def test_shapes_move_from_left_to_right():
    red = [
        np.flatnonzero((pattern_image(i, size_hw=(240, 320), fps=30) == (60, 60, 230)).all(2).any(0)) for i in (30, 45)
    ]
    assert red[1].min() > red[0].min()


def test_as_fast_as_possible_gives_every_picture_with_its_own_time():
    with open_source("test:64x48@max") as source:
        assert (source.live, source.fps, source.frame_count) == (False, 30.0, None)
        frames = [source.read(timeout_s=1.0) for _ in range(100)]
        source.close()
        assert source.read(timeout_s=1.0) is None
    assert [frame.index for frame in frames] == list(range(100))
    assert frames[60].time_s == pytest.approx(2.0)
    np.testing.assert_array_equal(frames[60].image_bgr, pattern_image(60, size_hw=(48, 64), fps=30))
    with open_source("test:64x48@max", settings=SourceSettings(cadence=Cadence(every=7))) as source:
        assert [source.read(timeout_s=1.0).index for _ in range(3)] == [0, 7, 14]


def test_as_a_camera_no_picture_comes_before_its_time_and_late_readers_miss_some():
    begun_s = time.monotonic()
    capture = PatternCapture(PatternSpec((48, 64), 50, paced=True))
    for index in range(5):
        assert capture.grab()
        assert time.monotonic() - begun_s >= index / 50
    time.sleep(0.2)
    assert capture.grab()
    number = round((time.monotonic() - begun_s) * 50)
    shown = capture.retrieve()[1]
    late = [n for n in range(10, number + 1) if np.array_equal(shown, pattern_image(n, size_hw=(48, 64), fps=50))]
    assert len(late) == 1


def test_as_a_camera_it_is_a_live_source_with_a_state():
    with open_source("test:64x48@100", name="pattern") as source:
        assert (source.live, source.fps, source.name) == (True, 100.0, "pattern")
        assert source.read(timeout_s=20.0).unix_time_s == pytest.approx(time.time(), abs=20)
        assert source.state == "live"
