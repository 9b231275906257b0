"""Cameras that this machine does not have, played by stand-ins: what they are asked for, and what is said without them."""

from __future__ import annotations

import subprocess
import sys
from types import ModuleType, SimpleNamespace

import cv2
import numpy as np
import pytest

from cvforge_edge.camera import SourceSettings, open_source
from cvforge_edge.errors import SourceError, UsageError
from cvforge_edge.sources.settings import CameraRequest, parse_size
from edge.test_run_camera import EDGE

WAIT_S = 20.0
GSTREAMER_SCRIPT = """
import os, sys

sys.path.insert(0, sys.argv[1])
import cv2
if not cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER):
    print("no GStreamer here")
    sys.exit()
from cvforge_edge.camera import open_source
from cvforge_edge.errors import SourceError
from cvforge_edge.sources import capture_thread

with open_source("gst:videotestsrc is-live=true ! video/x-raw,width=64,height=48,framerate=30/1") as source:
    print("live", source.fps, source.read(timeout_s=20.0).image_bgr.shape)
capture_thread.OPEN_WITHIN_S, capture_thread.GRACE_S = 1.0, 0.5
for text in ("gst:videotestsrc ! nonsense", "gst:nonsense"):  # OpenCV 4.6 refuses the first, and hangs for ever in the second
    try:
        open_source(text)
    except SourceError as error:
        print(error.exit_code, text)
sys.stdout.flush()
os._exit(0)
"""


class StandIn:
    """A `cv2.VideoCapture` that notes what it is asked for and gives what it can."""

    gives = {cv2.CAP_PROP_FRAME_WIDTH: 1280.0, cv2.CAP_PROP_FRAME_HEIGHT: 720.0, cv2.CAP_PROP_FPS: 30.0}
    opened = True
    refuses_v4l2 = False

    def __init__(self, *arguments) -> None:
        self.arguments, self.asked = arguments, []
        StandIn.newest = self

    def isOpened(self) -> bool:
        return self.opened and not (self.refuses_v4l2 and cv2.CAP_V4L2 in self.arguments[1:])

    def getBackendName(self) -> str:
        return "GSTREAMER"

    def set(self, key: int, value: float) -> bool:
        self.asked.append((key, value))
        return True

    def get(self, key: int) -> float:
        fourcc = cv2.VideoWriter.fourcc(*"MJPG")
        return float(fourcc) if key == cv2.CAP_PROP_FOURCC else self.gives.get(key, 0.0)

    def grab(self) -> bool:
        return True

    def retrieve(self):
        return True, np.zeros((72, 128, 3), np.uint8)

    def release(self) -> None:
        pass


@pytest.fixture
def stand_in(monkeypatch):
    monkeypatch.setattr(cv2, "VideoCapture", StandIn)
    return StandIn


def test_camera_is_asked_for_format_before_size_and_for_no_queue(stand_in):
    settings = SourceSettings(camera=CameraRequest(size_hw=(720, 1280), fps=30.0, fourcc="MJPG"))
    with open_source("2", settings=settings) as source:
        assert source.read(timeout_s=WAIT_S).image_bgr.shape == (72, 128, 3)
    assert stand_in.newest.arguments == ((2, cv2.CAP_V4L2) if sys.platform == "linux" else (2,))
    assert stand_in.newest.asked == [
        (cv2.CAP_PROP_BUFFERSIZE, 1),
        (cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG")),
        (cv2.CAP_PROP_FRAME_WIDTH, 1280),
        (cv2.CAP_PROP_FRAME_HEIGHT, 720),
        (cv2.CAP_PROP_FPS, 30.0),
    ]


def test_what_the_camera_gives_instead_is_a_warning(stand_in, caplog):
    settings = SourceSettings(camera=CameraRequest(size_hw=(1080, 1920), fps=60.0, fourcc="YUYV"))
    with open_source("/dev/video0", settings=settings):
        pass
    for words in (
        "size 1920x1080, the camera gives 1280x720",
        "frames/s 60, the",
        "format YUYV, the camera gives MJPG",
    ):
        assert words in caplog.text


@pytest.mark.skipif(sys.platform != "linux", reason="V4L2 is Linux's")
@pytest.mark.parametrize(("text", "camera"), [("0", 0), ("/dev/video3", "/dev/video3")])
def test_camera_that_v4l2_cannot_open_is_opened_by_another_way_and_that_is_said(
    stand_in, monkeypatch, caplog, text, camera
):
    monkeypatch.setattr(stand_in, "refuses_v4l2", True)
    with open_source(text) as source:
        assert source.read(timeout_s=WAIT_S) is not None
    assert stand_in.newest.arguments == (camera,)
    assert f"{text}: V4L2 cannot open this camera, GSTREAMER can: its pictures may be old" in caplog.text


def test_camera_that_nothing_can_open_is_refused(stand_in, monkeypatch):
    monkeypatch.setattr(stand_in, "opened", False)
    with pytest.raises(SourceError, match="no connection to camera 0; check that it is plugged in") as caught:
        open_source("0")
    assert caught.value.exit_code == 8


def test_camera_without_wishes_is_left_as_it_is(stand_in, caplog):
    with open_source("0"):
        pass
    assert stand_in.newest.asked == [(cv2.CAP_PROP_BUFFERSIZE, 1)]
    assert caplog.text == ""


@pytest.mark.parametrize("text", ["1280", "1280x", "0x720", "1280X720", "axb"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(UsageError, match="--camera-size: found .*accepted WIDTHxHEIGHT") as caught:
        parse_size(text, option="--camera-size")
    assert caught.value.exit_code == 2


def test_gstreamer_is_missed_with_a_way_to_get_it():
    if cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER):
        pytest.skip("this OpenCV has GStreamer")
    with pytest.raises(SourceError, match="built without GStreamer.*apt install python3-opencv") as caught:
        open_source("gst:videotestsrc")
    assert caught.value.exit_code == 8


def test_real_gstreamer_pipelines_give_pictures_and_nonsense_is_refused_also_where_opencv_hangs():
    run = subprocess.run(
        ["/usr/bin/python3", "-I", "-c", GSTREAMER_SCRIPT, str(EDGE)], capture_output=True, text=True, check=False
    )
    if "no GStreamer here" in run.stdout or "ModuleNotFoundError" in run.stderr:
        pytest.skip("the system's Python has no OpenCV with GStreamer (apt-get install python3-opencv)")
    refused = ["8 gst:videotestsrc ! nonsense", "8 gst:nonsense"]
    assert run.stdout.splitlines() == ["live 30.0 (48, 64, 3)", *refused], run.stderr


@pytest.mark.parametrize(
    ("pipeline", "given"),
    [
        ("v4l2src ! jpegdec", "v4l2src ! jpegdec ! videoconvert ! video/x-raw,format=BGR ! appsink"),
        ("a ! appsink name=mine", "a ! appsink name=mine"),
    ],
)
def test_pipeline_gets_a_sink_that_keeps_the_newest_picture_unless_it_has_one(stand_in, monkeypatch, pipeline, given):
    monkeypatch.setattr("cvforge_edge.sources.gstreamer.has_gstreamer", lambda: True)
    with open_source(f"gst:{pipeline}") as source:
        assert source.read(timeout_s=WAIT_S) is not None
    found, backend = stand_in.newest.arguments
    assert found.startswith(given)
    assert backend == cv2.CAP_GSTREAMER
    if "mine" not in pipeline:
        assert found.endswith("drop=true max-buffers=1 sync=false")


def test_pipeline_that_does_not_start_or_is_empty_is_refused(stand_in, monkeypatch):
    monkeypatch.setattr("cvforge_edge.sources.gstreamer.has_gstreamer", lambda: True)
    monkeypatch.setattr(stand_in, "opened", False)
    with pytest.raises(SourceError, match="gst-launch-1.0 nonsense ! fakesink"):
        open_source("gst:nonsense")
    with pytest.raises(SourceError, match="no pipeline"):
        open_source("gst: ")


class Picamera2:
    """The part of picamera2's class that is used (its manual, 3.1, 4.2 and 6.1); not the library: there is no Pi here."""

    log: list = []

    def __init__(self, number: int) -> None:
        if number > 1:
            raise IndexError("list index out of range")
        self.number = number

    def create_video_configuration(self, *, main, controls):
        return {"main": main, "controls": controls}

    def configure(self, configuration) -> None:
        self.log.append(configuration)

    def start(self) -> None:
        self.log.append("start")

    def capture_array(self, stream: str):
        assert stream == "main"
        width, height = self.log[0]["main"]["size"]
        return np.full((height, width, 3), (200, 100, 50), np.uint8)

    def stop(self) -> None:
        self.log.append("stop")

    def close(self) -> None:
        self.log.append("close")


def test_raspberry_camera_gives_blue_green_red_at_the_size_asked_for(monkeypatch):
    module = ModuleType("picamera2")
    module.Picamera2 = Picamera2
    monkeypatch.setitem(sys.modules, "picamera2", module)
    monkeypatch.setattr(Picamera2, "log", [])
    settings = SourceSettings(camera=CameraRequest(size_hw=(48, 64), fps=15.0))
    with open_source("picamera:1", settings=settings) as source:
        frame = source.read(timeout_s=WAIT_S)
        assert (source.fps, frame.image_bgr.shape, frame.image_bgr[0, 0].tolist()) == (
            15.0,
            (48, 64, 3),
            [200, 100, 50],
        )
        source.close(within_s=WAIT_S)
    asked = {"main": {"size": (64, 48), "format": "RGB888"}, "controls": {"FrameRate": 15.0}}
    assert Picamera2.log == [asked, "start", "stop", "close"]
    with pytest.raises(SourceError, match="Raspberry Pi camera 2 cannot be opened.*rpicam-hello"):
        open_source("picamera:2")


@pytest.mark.parametrize("failing", ["configure", "start"])
def test_raspberry_camera_that_does_not_start_is_given_back_for_the_next_attempt(monkeypatch, failing):
    def fail(*_arguments):
        raise RuntimeError("Failed to acquire camera: Device or resource busy")

    module = ModuleType("picamera2")
    module.Picamera2 = Picamera2
    monkeypatch.setitem(sys.modules, "picamera2", module)
    monkeypatch.setattr(Picamera2, "log", [])
    monkeypatch.setattr(Picamera2, failing, fail)
    with pytest.raises(SourceError, match="cannot be opened .*Device or resource busy"):
        open_source("picamera")
    assert Picamera2.log[-1:] == ["close"]
    assert Picamera2.log.count("close") == 1


def test_raspberry_camera_that_fails_is_lost_and_not_a_crash(monkeypatch):
    from cvforge_edge.sources.picamera import PiCapture

    def fail(_stream):
        raise RuntimeError("Camera frontend has timed out!")

    capture = PiCapture(SimpleNamespace(capture_array=fail), fps=30.0)
    assert not capture.grab()
    assert capture.retrieve() == (False, None)


def test_picamera2_is_missed_with_a_way_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "picamera2", None)
    with pytest.raises(SourceError, match="sudo apt install python3-picamera2") as caught:
        open_source("picamera")
    assert caught.value.exit_code == 8
