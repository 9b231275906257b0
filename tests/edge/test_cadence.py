"""Which frames are looked at: every n-th, or so many a second of the source's own time."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from cvforge_edge.camera import SourceSettings, open_source
from cvforge_edge.errors import UsageError
from cvforge_edge.sources.cadence import Cadence, FrameGate
from edge.test_camera import read_all, write_clip


def wanted(cadence: Cadence, times_s) -> list[int]:
    gate = FrameGate(cadence)
    return [index for index, time_s in enumerate(times_s) if gate.wants(index, time_s)]


def test_every_frame_is_wanted_by_default():
    assert wanted(Cadence(), [0.0, 0.0, 5.0]) == [0, 1, 2]


def test_every_third_frame():
    assert wanted(Cadence(every=3), np.arange(8) / 10) == [0, 3, 6]


@pytest.mark.parametrize(
    ("max_fps", "expected"), [(15.0, range(0, 300, 2)), (10.0, range(0, 300, 3)), (60.0, range(300))]
)
def test_frames_a_second_are_kept_although_the_clock_of_the_camera_jitters(max_fps, expected):
    jitter_s = np.random.default_rng(0).uniform(-0.004, 0.004, 300)
    assert wanted(Cadence(max_fps=max_fps), np.arange(300) / 30 + jitter_s) == list(expected)


def test_rate_that_does_not_divide_the_cameras_is_kept_on_average():
    taken = wanted(Cadence(max_fps=12.0), np.arange(3000) / 30)
    assert len(taken) == pytest.approx(1200, abs=2)


def test_after_a_pause_of_the_camera_no_burst_makes_up_for_it():
    times_s = np.concatenate([np.arange(10) / 30, 60 + np.arange(10) / 30])
    assert wanted(Cadence(max_fps=10.0), times_s) == [0, 3, 6, 9, 10, 13, 16, 19]


def test_both_limits_hold_together():
    assert wanted(Cadence(every=2, max_fps=10.0), np.arange(18) / 30) == [0, 4, 6, 10, 12, 16]


def test_clip_gives_what_is_wanted_with_its_own_numbers_and_times(tmp_path):
    path = str(write_clip(tmp_path / "clip.mp4"))
    with open_source(path, settings=SourceSettings(cadence=Cadence(every=5))) as source:
        assert (source.fps, source.frame_count) == (2.0, 3)
        frames = read_all(source)
    assert [(frame.index, round(frame.time_s, 3)) for frame in frames] == [(0, 0.0), (5, 0.5), (10, 1.0)]
    assert [round(frame.image_bgr.mean() / 20) for frame in frames] == [0, 5, 10]
    with open_source(path, settings=SourceSettings(cadence=Cadence(max_fps=5.0))) as source:
        assert (source.fps, source.frame_count) == (5.0, 6)
        assert [frame.index for frame in read_all(source)] == [0, 2, 4, 6, 8, 10]


def test_folder_gives_every_second_image_and_knows_no_rate(tmp_path):
    for number in range(5):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.zeros((4, 4, 3), np.uint8))
    with open_source(str(tmp_path), name="shelf", settings=SourceSettings(cadence=Cadence(every=2))) as source:
        assert source.frame_count == 3
        assert [frame.source for frame in read_all(source)] == ["shelf/0.png", "shelf/2.png", "shelf/4.png"]
    with pytest.raises(UsageError, match="images have no frame rate") as caught:
        open_source(str(tmp_path), settings=SourceSettings(cadence=Cadence(max_fps=2.0)))
    assert caught.value.exit_code == 2
