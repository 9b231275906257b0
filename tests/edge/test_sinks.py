"""Where results go: complete files, an honest count, and an error with code 10 when the disk is full."""

from __future__ import annotations

import collections
import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from cvforge_edge.errors import BackendError, StorageError, UsageError
from cvforge_edge.frame import Frame, Result
from cvforge_edge.sinks.images import ImageFolder
from cvforge_edge.sinks.jsonl import JsonLines, json_record
from cvforge_edge.sinks.open import open_sinks
from cvforge_edge.sinks.video import MIN_FREE_BYTES, VideoSink
from cvforge_edge.sinks.window import Window
from cvforge_edge.types import ClassScores, Detections, SegmentationMap

LABELS = ("red", "blue")
DiskUsage = collections.namedtuple("DiskUsage", "total used free")


def result(
    index: int = 0, *, prediction=None, size_hw=(48, 64), source: str = "clip.mp4", unix_time_s=None, time_s=None
):
    image = np.full((*size_hw, 3), 40, np.uint8)
    time_s = index / 10 if time_s is None else time_s
    frame = Frame(image, index, time_s, unix_time_s, source, time.monotonic())
    return Result(frame, prediction if prediction is not None else Detections.empty(), LABELS)


def detections() -> Detections:
    boxes = np.array([[1, 2, 3.456, 4], [5, 6, 7, 8]], np.float32)
    return Detections(boxes, np.array([0.25, 0.75], np.float32), np.array([1, 0], np.int64))


def read_clip(path: Path) -> list[np.ndarray]:
    capture = cv2.VideoCapture(str(path))
    frames = []
    while (read := capture.read())[0]:
        frames.append(read[1])
    capture.release()
    return frames


def test_detections_become_a_json_line_with_the_surest_first(tmp_path):
    sink = JsonLines(str(tmp_path / "out.jsonl"))
    sink.write(result(3, prediction=detections()))
    sink.write(result(4))
    sink.close()
    sink.close()
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert lines[0] == {
        "frame": 3,
        "time_s": 0.3,
        "unix_time_s": None,
        "source": "clip.mp4",
        "width": 64,
        "height": 48,
        "detections": [
            {"label": "red", "class_id": 0, "score": 0.75, "box_xyxy": [5.0, 6.0, 7.0, 8.0]},
            {"label": "blue", "class_id": 1, "score": 0.25, "box_xyxy": [1.0, 2.0, 3.46, 4.0]},
        ],
    }
    assert lines[1]["detections"] == []
    assert sink.summary() == f"{tmp_path / 'out.jsonl'}: 2 lines of JSON"


def test_other_predictions_have_their_own_key():
    classes = json_record(result(prediction=ClassScores(np.array([0.25, 0.75], np.float32))))["classes"]
    assert classes == [
        {"label": "blue", "class_id": 1, "score": 0.75},
        {"label": "red", "class_id": 0, "score": 0.25},
    ]
    class_map = np.zeros((2, 4), np.uint8)
    class_map[0] = 1
    class_map[1, 0] = 255
    shares = json_record(result(prediction=SegmentationMap(class_map)))["pixel_shares"]
    assert shares == {"red": 0.375, "blue": 0.5, "void": 0.125}


def test_track_ids_and_camera_time_are_written():
    boxes = detections()
    tracked = Detections(boxes.boxes_xyxy, boxes.scores, boxes.class_ids, track_ids=np.array([7, 9], np.int64))
    record = json_record(result(prediction=tracked, unix_time_s=1700000000.12345, source="0"))
    assert [row["track_id"] for row in record["detections"]] == [9, 7]
    assert record["unix_time_s"] == 1700000000.123


def test_nan_is_an_error_and_not_invalid_json(tmp_path):
    sink = JsonLines(str(tmp_path / "out.jsonl"))
    with pytest.raises(BackendError, match="NaN"):
        sink.write(result(prediction=ClassScores(np.array([np.nan, 0.5], np.float32))))
    sink.close()
    assert (tmp_path / "out.jsonl").read_text() == ""


def test_lines_reach_the_file_while_the_run_goes_on(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr("cvforge_edge.sinks.jsonl.time", SimpleNamespace(monotonic=lambda: now[0]))
    sink = JsonLines(str(tmp_path / "out.jsonl"))
    sink.write(result(0))
    now[0] = 101.0
    sink.write(result(1))
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 2
    sink.close()


def test_json_on_a_full_disk_is_a_storage_error_with_code_10():
    sink = JsonLines("/dev/full")
    sink.write(result())
    with pytest.raises(StorageError, match=r"/dev/full: cannot be written \(No space left on device\)") as caught:
        sink.close()
    assert "first 0 lines are stored" in str(caught.value)
    assert caught.value.exit_code == 10
    sink.close()


@pytest.mark.parametrize("name", ["missing/out.jsonl", "."])
def test_json_file_that_cannot_be_created_is_a_storage_error(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StorageError, match="cannot be created"):
        JsonLines(name)


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


def test_annotated_pictures_keep_the_names_of_their_images(tmp_path):
    sink = ImageFolder(tmp_path / "out")
    for source in ("in/a.jpg", "in/a.png", "in/b.tif"):
        sink.write(result(0, source=source, prediction=detections()))
    sink.write(result(17, source="clip.mp4"))
    sink.write(result(18, source="rtsp://host/live.sdp", unix_time_s=1.0))
    sink.close()
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["a.jpg", "a.png", "b.tif.png", "camera_000018.jpg", "clip_000017.jpg"]
    assert cv2.imread(str(tmp_path / "out" / "a.png")).max() > 100


def test_window_without_a_display_is_refused_with_a_way_out(monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with pytest.raises(UsageError, match=r"--show: no display .* --save out\.mp4") as caught:
        Window("title", on_quit=lambda: None)
    assert caught.value.exit_code == 2


def test_window_of_an_opencv_without_windows_is_refused_with_a_way_out(monkeypatch):
    def refuse(*arguments) -> None:
        raise cv2.error("The function is not implemented")

    monkeypatch.setenv("DISPLAY", ":99")
    monkeypatch.setattr(cv2, "namedWindow", refuse)
    with pytest.raises(UsageError, match="built without windows"):
        Window("title", on_quit=lambda: None)


@pytest.mark.parametrize(("key", "visible"), [(ord("q"), 1.0), (27, 1.0), (-1, 0.0)])
def test_q_escape_and_closing_the_window_end_the_run(monkeypatch, key, visible):
    monkeypatch.setenv("DISPLAY", ":99")
    shown = []
    for name in ("namedWindow", "resizeWindow", "destroyAllWindows"):
        monkeypatch.setattr(cv2, name, lambda *arguments: None)
    monkeypatch.setattr(cv2, "imshow", lambda title, image: shown.append(image))
    monkeypatch.setattr(cv2, "waitKey", lambda delay: key)
    monkeypatch.setattr(cv2, "getWindowProperty", lambda *arguments: visible)
    stop = threading.Event()
    sink = Window("title", on_quit=stop.set)
    sink.write(result())
    sink.write(result())
    assert stop.is_set()
    assert len(shown) == 1


def source_named(name: str, *, live: bool = False):
    return SimpleNamespace(name=name, live=live, fps=10.0)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"save": "clip.mp4"}, "--save clip.mp4: would replace the source"),
        ({"json_lines": "clip.mp4"}, "--json clip.mp4: would replace the source"),
        ({"save": "out.mp4", "json_lines": "./out.mp4"}, "also the place of --save"),
        ({"save": "out.gif"}, r"found the ending '\.gif'"),
    ],
)
def test_results_never_replace_the_source_or_each_other(tmp_path, monkeypatch, options, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clip.mp4").write_bytes(b"precious")
    both = {"save": None, "json_lines": None, "title": None, "stop": threading.Event(), **options}
    with pytest.raises(UsageError, match=words):
        open_sinks(source_named("clip.mp4"), **both)
    assert (tmp_path / "clip.mp4").read_bytes() == b"precious"
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]


def test_annotated_pictures_may_not_go_where_their_images_are(tmp_path):
    (tmp_path / "a.png").touch()
    for name in (tmp_path, tmp_path / "a.png"):
        with pytest.raises(UsageError, match="would replace the source"):
            open_sinks(source_named(str(name)), save=str(tmp_path), json_lines=None, title=None, stop=threading.Event())
    clip_sinks = open_sinks(
        source_named(str(tmp_path / "clip.mp4")),
        save=str(tmp_path),
        json_lines=None,
        title=None,
        stop=threading.Event(),
    )
    assert [type(sink) for sink in clip_sinks] == [ImageFolder]


def test_sinks_follow_from_the_names_of_the_places(tmp_path):
    sinks = open_sinks(
        source_named("0", live=True),
        save=str(tmp_path / "folder.v1") + "/",
        json_lines=str(tmp_path / "out.jsonl"),
        title=None,
        stop=threading.Event(),
    )
    assert [type(sink) for sink in sinks] == [ImageFolder, JsonLines]
    for sink in sinks:
        sink.close()
