"""Where frames come from: files keep every frame in order, cameras keep the newest and come back after a loss."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from cvforge_edge.camera import open_source, source_kind
from cvforge_edge.errors import ImageError, SourceError
from cvforge_edge.sources.image_files import list_images
from edge.mjpeg import MjpegServer
from edge.scripted_capture import wait_until

GREYS = range(0, 240, 20)
WAIT_S = 10.0


def write_clip(path: Path, greys: range = GREYS, *, fps: float = 10.0) -> Path:
    """A clip of 64 x 48 pixels whose frames are plain greys."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), fps, (64, 48))
    for grey in greys:
        writer.write(np.full((48, 64, 3), grey, np.uint8))
    writer.release()
    return path


def read_all(source) -> list:
    frames = []
    while (frame := source.read(timeout_s=1.0)) is not None:
        frames.append(frame)
    return frames


def test_video_file_gives_every_frame_in_order_with_its_time(tmp_path):
    with open_source(str(write_clip(tmp_path / "clip.mp4"))) as source:
        assert (source.fps, source.frame_count, source.live) == (10.0, 12, False)
        frames = read_all(source)
        assert source.ended
    assert [frame.index for frame in frames] == list(range(12))
    assert [round(frame.image_bgr.mean() / 20) for frame in frames] == list(range(12))
    np.testing.assert_allclose([frame.time_s for frame in frames], np.arange(12) / 10, atol=1e-6)
    assert frames[0].unix_time_s is None


def test_real_video_gives_all_its_frames(shared_data):
    with open_source(str(shared_data / "videos" / "bottle-detection.mp4")) as source:
        frames = 0
        while (frame := source.read(timeout_s=1.0)) is not None:
            assert frame.index == frames
            frames += 1
    assert frames == 1189


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"not a video", "11 bytes that OpenCV cannot open"), (b"", "0 bytes that OpenCV cannot open")],
)
def test_video_that_cannot_be_opened_names_path_and_what_is_accepted(tmp_path, content, words):
    path = tmp_path / "clip.mp4"
    path.write_bytes(content)
    with pytest.raises(SourceError) as caught:
        open_source(str(path))
    assert str(path) in str(caught.value)
    assert words in str(caught.value)
    assert "Accepted: MP4" in str(caught.value)
    assert caught.value.exit_code == 8


def test_video_without_its_index_is_refused(tmp_path):
    path = write_clip(tmp_path / "clip.mp4")
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(SourceError, match="cut off"):
        open_source(str(path))


@pytest.mark.parametrize("text", ["missing.mp4", "ftp://host/clip.mp4", "-1"])
def test_unknown_source_is_refused_with_the_list_of_what_is_accepted(text):
    with pytest.raises(SourceError, match=r"Accepted: a camera number .* folder of images"):
        open_source(text)


def test_kind_of_source_follows_from_its_name(tmp_path):
    (tmp_path / "a.JPG").touch()
    (tmp_path / "clip.bin").touch()
    kinds = [source_kind(text) for text in ("0", "/dev/video2", "rtsp://host/x", "HTTP://host/x")]
    assert kinds == ["device", "device", "stream", "stream"]
    kinds = [source_kind(text) for text in ("picamera", "picamera:1", "gst:v4l2src ! a=b://c", "test:64x48")]
    assert kinds == ["picamera", "picamera", "gstreamer", "pattern"]
    names = [tmp_path, tmp_path / "a.JPG", tmp_path / "clip.bin"]
    assert [source_kind(str(name)) for name in names] == ["folder", "image", "video"]


def test_image_folder_follows_numbers_in_names_and_skips_other_files(tmp_path):
    for name in ("b_10.png", "b_9.png", "a.png"):
        cv2.imwrite(str(tmp_path / name), np.zeros((4, 6, 3), np.uint8))
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "folder.png").mkdir()
    assert [path.name for path in list_images(tmp_path)] == ["a.png", "b_9.png", "b_10.png"]
    with open_source(str(tmp_path)) as source:
        assert source.frame_count == 3
        frames = read_all(source)
        assert source.ended
    assert [Path(frame.source).name for frame in frames] == ["a.png", "b_9.png", "b_10.png"]
    assert [frame.index for frame in frames] == [0, 1, 2]


def test_digits_that_are_no_number_in_a_name_are_letters(tmp_path):
    for name in ("²1.png", "a٣.png", "b_2.png"):
        cv2.imwrite(str(tmp_path / name), np.zeros((4, 6, 3), np.uint8))
    assert [path.name for path in list_images(tmp_path)] == ["a٣.png", "b_2.png", "²1.png"]


def test_single_image_is_a_source_of_one_frame(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), np.full((4, 6, 3), 7, np.uint8))
    with open_source(str(tmp_path / "a.png")) as source:
        frames = read_all(source)
    assert len(frames) == 1
    assert frames[0].image_bgr.shape == (4, 6, 3)


def test_folder_without_images_is_refused(tmp_path):
    with pytest.raises(SourceError, match="no image in this folder"):
        open_source(str(tmp_path))


def test_damaged_image_of_a_folder_is_named(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"\xff\xd8\xff broken")
    with open_source(str(tmp_path)) as source, pytest.raises(ImageError, match=r"a\.jpg"):
        source.read(timeout_s=1.0)


def test_camera_that_is_not_there_is_refused_at_once():
    with pytest.raises(SourceError, match="97: no connection") as caught:
        open_source("97")
    assert "plugged in" in str(caught.value)


def test_real_network_stream_comes_back_when_its_server_does():
    server = MjpegServer()
    address = f"http://127.0.0.1:{server.port}/stream"
    try:
        with open_source(address) as source:
            first = source.read(timeout_s=WAIT_S)
            assert first.image_bgr.shape == (48, 64, 3)
            assert abs(int(first.image_bgr.mean()) - 120) <= 3
            server.close()
            wait_until(lambda: source.state == "lost", "loss noticed")

            server = MjpegServer(server.port)
            last_index = first.index
            wait_until(lambda: source.state == "live", "back")
            wait_until(lambda: (frame := source.read(timeout_s=0.5)) and frame.index > last_index, "frames again")
    finally:
        server.close()


def test_clip_named_like_a_device_path_still_opens_as_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copy(write_clip(tmp_path / "clip.mp4"), tmp_path / "video0.mp4")
    with open_source("video0.mp4") as source:
        assert source.name == "video0.mp4"
        assert len(read_all(source)) == 12
