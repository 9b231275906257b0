"""Several cameras and files in one run: each has its name in the results, and one that fails does not end the others."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from cvforge_edge.camera import SourceSettings
from cvforge_edge.errors import SourceError, StorageError, UsageError
from cvforge_edge.sinks.by_source import BySource, file_names, place_of
from cvforge_edge.sinks.open import open_sinks
from cvforge_edge.source_options import open_sources, split_name
from edge.sink_results import read_clip
from edge.test_camera import read_all, write_clip
from edge.test_pipeline import ListSink
from edge.test_run_camera import STOP_WITHIN_S, command, run_camera, wait_for_lines

TIMEOUT_S = 60


@pytest.fixture
def bundle(make_bundle) -> Path:
    return make_bundle("detector", formats=("onnx",))


@pytest.fixture
def nobody() -> str:
    """The address of a stream that nobody serves."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    return f"rtsp://127.0.0.1:{port}/main"


def by_source(path: Path) -> dict[str, list[int]]:
    """Frame numbers by the name of the source, from JSON Lines."""
    found: dict[str, list[int]] = {}
    for line in path.read_text().splitlines():
        record = json.loads(line)
        found.setdefault(record["source"], []).append(record["frame"])
    return found


def test_every_source_gets_its_video_and_its_name_in_the_lines(bundle, tmp_path):
    write_clip(tmp_path / "a.mp4")
    write_clip(tmp_path / "b.mp4", range(0, 200, 40))
    arguments = ("--source", "door=a.mp4", "--source", "b.mp4", "--save", "out.mp4", "--json", "out.jsonl")
    run = run_camera("--bundle", bundle, *arguments, cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    assert by_source(tmp_path / "out.jsonl") == {"door": list(range(12)), "b.mp4": list(range(5))}
    assert len(read_clip(tmp_path / "out-door.mp4")) == 12
    assert len(read_clip(tmp_path / "out-b.mp4")) == 5
    assert not (tmp_path / "out.mp4").exists()
    for words in ("door: closed, 12 frames", "b.mp4: closed, 5 frames", "17 frames in"):
        assert words in run.stderr


def test_every_source_gets_its_folder_and_options_hold_for_all(bundle, tmp_path):
    write_clip(tmp_path / "a.mp4")
    (tmp_path / "shelf").mkdir()
    for number in range(4):
        cv2.imwrite(str(tmp_path / "shelf" / f"{number}.png"), np.zeros((32, 48, 3), np.uint8))
    arguments = ("--source", "a.mp4", "--source", "photos=shelf", "--save", "pictures/", "--json", "-", "--every", 3)
    run = run_camera("--bundle", bundle, *arguments, "--roi", "0.5,0.0,0.5,1.0", cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    saved = sorted(path.relative_to(tmp_path / "pictures").as_posix() for path in (tmp_path / "pictures").rglob("*.*"))
    assert saved == [*(f"a/a_{index:06d}.jpg" for index in (0, 3, 6, 9)), "photos/0.png", "photos/3.png"]
    names = {json.loads(line)["source"] for line in run.stdout.splitlines()}
    assert names == {"a.mp4", "photos/0.png", "photos/3.png"}


def test_camera_that_cannot_be_reached_does_not_end_the_others_but_the_code_says_it(bundle, tmp_path, nobody):
    write_clip(tmp_path / "a.mp4")
    arguments = ("--source", f"yard={nobody}", "--source", "a.mp4", "--json", "out.jsonl")
    run = run_camera("--bundle", bundle, *arguments, cwd=tmp_path)
    assert run.returncode == 8, run.stderr
    assert "Connection refused" in run.stderr
    assert "the other sources go on" in run.stderr
    assert "yard: closed, 0 frames" in run.stderr
    assert run.stderr.rstrip().splitlines()[-1].startswith("error: yard: no connection")
    assert by_source(tmp_path / "out.jsonl") == {"a.mp4": list(range(12))}


def test_run_ends_at_once_where_no_camera_can_be_reached(bundle, tmp_path, nobody):
    run = run_camera(
        "--bundle", bundle, "--source", f"a={nobody}", "--source", f"b={nobody}", "--json", "o.jsonl", cwd=tmp_path
    )
    assert run.returncode == 8
    assert "2 sources cannot be opened:\n  a: no connection" in run.stderr
    assert not (tmp_path / "o.jsonl").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--source", "test:64x48", "--source", "none.mp4", "--source", "ftp://x"), 8, "2 sources cannot be opened"),
        (("--source", "test:", "--source", "test:"), 2, "test:: the name of more than one source"),
        (("--source", "a=test:", "--source", "a=test:64x48"), 2, "a: the name of more than one source"),
        (("--source", "test:64x48@max", "--source", "test:64x48@30", "--roi", "9,9"), 2, "accepted X,Y,W,H"),
        (("--source", "test:64x48@max", "--roi", "0,0,65,4"), 2, "64 pixels wide and 48 high"),
        (("--source", "0", "--stall-after", "9"), 2, "accepted: 0 < stall-after < lost-after"),
        (("--source", "0", "--camera-size", "big"), 2, "accepted WIDTHxHEIGHT"),
        (("--source", "0", "--camera-format", "JPEGS"), 2, "accepted a code of four letters"),
        (("--source", "0", "--max-fps", "0"), 2, "accepted numbers above 0"),
        (("--source", "0", "--every", "0"), 2, "accepted whole numbers of at least 1"),
        (("--source", "rtsp://x/", "--rtsp-transport", "smoke"), 2, "invalid choice: 'smoke'"),
        (("--source", "test:64x48", "--source", "a=test:32x32", "--save", "out.gif"), 2, "found the ending '.gif'"),
    ],
)
def test_what_cannot_work_ends_with_a_message_and_its_code(bundle, tmp_path, arguments, code, words):
    run = run_camera("--bundle", bundle, *arguments, cwd=tmp_path)
    assert run.returncode == code, run.stderr
    assert words in run.stderr
    assert "Traceback" not in run.stderr


def test_signal_ends_four_silent_cameras_within_a_second(bundle, tmp_path):
    # They accept a connection and say nothing: every attempt, and FFmpeg's, waits in the network.
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        sources = [f"--source=c{number}=http://127.0.0.1:{port}/{number}" for number in range(4)]
        arguments = (
            "--bundle",
            bundle,
            "--source",
            "test:64x48",
            *sources,
            "--connect-for",
            "inf",
            "--json",
            "out.jsonl",
        )
        with subprocess.Popen(command(*arguments), cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
            wait_for_lines(tmp_path / "out.jsonl", process)
            process.send_signal(signal.SIGTERM)
            sent_s = time.monotonic()
            _, errors = process.communicate(timeout=TIMEOUT_S)
            stopped_s = time.monotonic() - sent_s
    assert process.returncode == 0, errors
    assert stopped_s < STOP_WITHIN_S
    assert "c3: connecting, 0 frames" in errors


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("door=0", ("door", "0")),
        ("0", (None, "0")),
        ("gst:v4l2src device=/dev/video0 ! x", (None, "gst:v4l2src device=/dev/video0 ! x")),
        ("door=gst:a b=c", ("door", "gst:a b=c")),
        ("rtsp://u:p=w@h/x?a=b", (None, "rtsp://u:p=w@h/x?a=b")),
    ],
)
def test_name_of_a_source_stands_before_the_first_equals_sign(text, expected):
    assert split_name(text) == expected


def test_file_with_an_equals_sign_in_its_name_is_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_clip(tmp_path / "a=b.mp4")
    assert split_name("a=b.mp4") == (None, "a=b.mp4")
    with open_sources(["a=b.mp4"], SourceSettings()) as (source,):
        assert (source.name, len(read_all(source))) == ("a=b.mp4", 12)


def test_cameras_are_closed_when_another_source_cannot_be_opened():
    with pytest.raises(SourceError, match="no such file"), open_sources(["test:64x48", "none.mp4"], SourceSettings()):
        pass
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("capture")]


def named(name: str, *, path: str | None = None, live: bool = False):
    return SimpleNamespace(name=name, path=None if path is None else Path(path), live=live, fps=None)


def test_file_names_hold_nothing_that_a_shell_would_mind_and_no_password():
    sources = [
        named("rtsp://admin:***@10.0.0.7:554/main?x=1", live=True),
        named("clips/day 1.mp4", path="clips/day 1.mp4"),
        named("/dev/video2", live=True),
        named("gate", path="clips/b.mp4"),
        named("test:", live=True),
    ]
    assert file_names(sources) == ["10.0.0.7_554_main_x_1", "day_1", "dev_video2", "gate", "test"]


def test_two_sources_of_one_file_name_are_refused():
    with pytest.raises(UsageError, match="a: would be the file name of more than one source") as caught:
        file_names([named("x/a.mp4", path="x/a.mp4"), named("y/a.mp4", path="y/a.mp4")])
    assert caught.value.exit_code == 2


def test_places_of_several_sources():
    assert place_of("x/out.mkv", "a", video_suffixes=(".mkv",)) == "x/out-a.mkv"
    assert place_of("x/", "a", video_suffixes=(".mkv",)) == "x/a/"


def test_video_of_one_source_never_replaces_another_source(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sources = [named("a", path="out-b.mp4"), named("b", path="x.mp4")]
    with pytest.raises(UsageError, match=r"--save out-b\.mp4: would replace the source"):
        open_sinks(sources, save="out.mp4", json_lines=None, title=None, stop=threading.Event())


def test_all_sinks_of_the_sources_are_closed_although_one_fails():
    class Failing(ListSink):
        def close(self) -> None:
            super().close()
            raise StorageError("full")

    sinks = [Failing(), ListSink(), Failing()]
    with pytest.raises(StorageError, match="full"):
        BySource(sinks).close()
    assert [sink.closed for sink in sinks] == [True, True, True]
