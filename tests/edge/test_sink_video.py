"""Annotated videos: every frame in true time, whole files, and an honest count when the disk is full."""

from __future__ import annotations

import collections
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from cvforge_edge.errors import StorageError
from cvforge_edge.sinks.rotation import Rotation
from cvforge_edge.sinks.video import MIN_FREE_BYTES, VideoSink
from edge.sink_results import detections, read_clip, result

DiskUsage = collections.namedtuple("DiskUsage", "total used free")


@pytest.mark.parametrize("size_hw", [(48, 64), (47, 63)])
def test_video_holds_every_frame_annotated(tmp_path, size_hw):
    sink = VideoSink(tmp_path / "out.mp4", fps=10.0)
    for index in range(12):
        sink.write(result(index, prediction=detections(), size_hw=size_hw))
    sink.close()
    sink.close()
    frames = read_clip(tmp_path / "out.mp4")
    assert len(frames) == 12
    assert frames[0].shape[:2] == (size_hw[0] // 2 * 2, size_hw[1] // 2 * 2)
    assert frames[0].max() > 100  # the box
    assert "12 frames" in sink.summary()


def test_pictures_of_other_sizes_are_fitted_into_the_first(tmp_path):
    sink = VideoSink(tmp_path / "out.mp4", fps=None)
    sink.write(result(0, size_hw=(48, 64)))
    sink.write(result(1, size_hw=(96, 32)))
    sink.close()
    first, second = read_clip(tmp_path / "out.mp4")
    assert first.shape == second.shape == (48, 64, 3)
    assert second[24, 4].max() < 20
    assert abs(int(second[24, 32].max()) - 40) < 10


def test_video_of_a_camera_plays_in_true_time(tmp_path):
    sink = VideoSink(tmp_path / "out.mp4", fps=10.0)
    # Half a second of silence is five pictures long, frames that come faster than the video are left out, and a long
    # silence is cut to two seconds.
    for index, time_s in enumerate((3.0, 3.5, 3.51, 3.6, 60.0, 60.1)):
        sink.write(result(index, unix_time_s=1e9 + time_s, time_s=time_s))
    sink.close()
    assert len(read_clip(tmp_path / "out.mp4")) == 1 + 5 + 0 + 1 + 20 + 1


def noise_frames(count):
    """Pictures that a codec cannot make small: some kB each."""
    rng = np.random.default_rng(0)
    for index in range(count):
        image = rng.integers(0, 256, (120, 160, 3), dtype=np.uint8)
        yield result(index, image_bgr=image, unix_time_s=1e9 + index / 10, time_s=index / 10)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi"])
def test_full_videos_are_set_aside_each_whole_and_no_frame_is_missing(tmp_path, suffix):
    (tmp_path / f"out{suffix}").write_bytes(b"what an earlier run left")
    limit_bytes = 400_000
    sink = VideoSink(tmp_path / f"out{suffix}", fps=10.0, rotation=Rotation(limit_bytes, keep=50))
    for one in noise_frames(300):
        sink.write(one)
    sink.close()
    files = {path.name: path for path in tmp_path.iterdir()}
    videos = len(files) - 1
    assert videos >= 3
    assert files.pop(f"out.{videos}{suffix}").read_bytes() == b"what an earlier run left"
    assert sum(len(read_clip(path)) for path in files.values()) == 300
    aside = [path for name, path in files.items() if name != f"out{suffix}"]
    some_more = 50 * max(path.stat().st_size / len(read_clip(path)) for path in aside)
    assert all(limit_bytes <= path.stat().st_size < limit_bytes + some_more for path in aside)
    assert "300 frames" in sink.summary()


def test_only_the_newest_videos_are_kept(tmp_path):
    sink = VideoSink(tmp_path / "out.mp4", fps=10.0, rotation=Rotation(1, keep=2))
    for index in range(101):
        sink.write(result(index, unix_time_s=1e9 + index / 10, time_s=index / 10))
    sink.close()
    assert {path.name: len(read_clip(path)) for path in tmp_path.iterdir()} == {
        "out.mp4": 1,
        "out.1.mp4": 25,
        "out.2.mp4": 25,
    }


def test_video_that_cannot_be_set_aside_is_a_storage_error_and_is_whole(tmp_path, monkeypatch):
    def refuse(*_args, **_options):
        raise PermissionError(13, "Permission denied")

    sink = VideoSink(tmp_path / "out.mp4", fps=10.0, rotation=Rotation(1))
    sink.write(result(0))
    monkeypatch.setattr("cvforge_edge.sinks.video.set_aside", refuse)
    with pytest.raises(StorageError, match=r"out\.mp4: cannot be set aside \(Permission denied\)"):
        for index in range(1, 40):
            sink.write(result(index))
    sink.close()
    assert len(read_clip(tmp_path / "out.mp4")) == 25


def test_video_that_cannot_be_created_is_a_storage_error(tmp_path):
    with pytest.raises(StorageError, match="does not exist"):
        VideoSink(tmp_path / "missing" / "out.mp4", fps=10.0)
    (tmp_path / "out.mp4").mkdir()
    sink = VideoSink(tmp_path / "out.mp4", fps=10.0)
    with pytest.raises(StorageError, match="cannot create this video"):
        sink.write(result())
    sink.close()


def test_video_stops_while_there_is_room_to_finish_it(tmp_path, monkeypatch):
    free = iter([MIN_FREE_BYTES, MIN_FREE_BYTES, MIN_FREE_BYTES - 1])
    usage = SimpleNamespace(disk_usage=lambda path: DiskUsage(0, 0, next(free)))
    monkeypatch.setattr("cvforge_edge.sinks.video.shutil", usage)
    sink = VideoSink(tmp_path / "out.mp4", fps=10.0)
    with pytest.raises(StorageError, match="stopped after 50 frames, only 15 MB are free"):
        for index in range(100):
            sink.write(result(index))
    sink.close()
    assert len(read_clip(tmp_path / "out.mp4")) == 50


def test_video_that_the_file_system_cut_off_is_noticed(tmp_path):
    # A limit on file size, set in a process of its own, fails writes as a full disk does.
    script = f"""
import resource, sys
sys.path[:0] = {sys.path!r}
import numpy as np
from pathlib import Path
from cvforge_edge.errors import StorageError
from cvforge_edge.frame import Frame, Result
from cvforge_edge.sinks.video import VideoSink
from cvforge_edge.types import Detections
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
sink = VideoSink(Path("out.mp4"), fps=10.0)
noise = np.random.default_rng(0)
for i in range(20):
    image = noise.integers(0, 255, (48, 64, 3), np.uint8)
    sink.write(Result(Frame(image, i, 0.0, None, "x", 0.0), Detections.empty(), ()))
try:
    sink.close()
except StorageError as error:
    print(error.exit_code, error)
"""
    run = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert run.stdout.startswith("10 out.mp4: 20 frames were written but the file holds 0")
