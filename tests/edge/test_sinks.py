"""Which sinks the options open, what they never replace, and pictures that keep the names of their images."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import cv2
import pytest

from cvforge_edge.errors import UsageError
from cvforge_edge.sinks.images import ImageFolder
from cvforge_edge.sinks.jsonl import JsonLines
from cvforge_edge.sinks.open import open_sinks
from cvforge_edge.sinks.rotation import Rotation
from edge.sink_results import detections, result


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


def source_named(name: str, *, live: bool = False):
    return SimpleNamespace(name=name, live=live, fps=10.0)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"save": "clip.mp4"}, "--save clip.mp4: would replace the source"),
        ({"save": "out.gif"}, r"found the ending '\.gif'"),
    ],
)
def test_pictures_never_replace_the_source(tmp_path, monkeypatch, options, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clip.mp4").write_bytes(b"precious")
    both = {"save": None, "json_lines": None, "title": None, "stop": threading.Event(), **options}
    with pytest.raises(UsageError, match=words):
        open_sinks([source_named("clip.mp4")], **both)
    assert (tmp_path / "clip.mp4").read_bytes() == b"precious"
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]


def test_annotated_pictures_may_not_go_where_their_images_are(tmp_path):
    (tmp_path / "a.png").touch()
    for name in (tmp_path, tmp_path / "a.png"):
        with pytest.raises(UsageError, match="would replace the source"):
            open_sinks(
                [source_named(str(name))], save=str(tmp_path), json_lines=None, title=None, stop=threading.Event()
            )
    clip_sinks = open_sinks(
        [source_named(str(tmp_path / "clip.mp4"))],
        save=str(tmp_path),
        json_lines=None,
        title=None,
        stop=threading.Event(),
    )
    assert [type(sink) for sink in clip_sinks] == [ImageFolder]


def test_sinks_follow_from_the_names_of_the_places(tmp_path):
    sinks = open_sinks(
        [source_named("0", live=True)],
        save=str(tmp_path / "folder.v1") + "/",
        json_lines=str(tmp_path / "out.jsonl"),
        title=None,
        stop=threading.Event(),
    )
    assert [type(sink) for sink in sinks] == [ImageFolder, JsonLines]
    for sink in sinks:
        sink.close()


def test_a_video_of_a_camera_that_grows_without_end_is_a_warning(tmp_path, caplog):
    for save, live, rotation, warned in (
        ("out.mp4", True, None, True),
        ("out.mp4", True, Rotation(10**6), False),
        ("out.mp4", False, None, False),
        ("pictures", True, None, False),
    ):
        caplog.clear()
        sources = [source_named("door", live=live)]
        options = {"json_lines": None, "title": None, "stop": threading.Event(), "rotation": rotation}
        open_sinks(sources, save=str(tmp_path / save), **options)
        assert ("--rotate MB bounds both" in caplog.text) is warned
