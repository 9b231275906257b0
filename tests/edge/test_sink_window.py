"""The window with annotated frames: refused where there is none, and left with a key or its cross."""

from __future__ import annotations

import threading

import cv2
import pytest

from cvforge_edge.errors import UsageError
from cvforge_edge.pipeline import run_pipeline
from cvforge_edge.sinks.by_source import BySource
from cvforge_edge.sinks.window import Window
from edge.sink_results import result
from edge.test_pipeline import GreyPredictor, SilentCamera
from edge.web_client import wait_until


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


class Desktop:
    """Stands in for OpenCV's windows: what is pressed and closed is heard when somebody waits for keys, as in a real one."""

    def __init__(self, monkeypatch) -> None:
        self.shown, self.key, self.visible, self.asked = [], -1, 1.0, 0
        monkeypatch.setenv("DISPLAY", ":99")
        for name in ("namedWindow", "resizeWindow", "destroyAllWindows"):
            monkeypatch.setattr(cv2, name, lambda *arguments: None)
        monkeypatch.setattr(cv2, "imshow", lambda title, image: self.shown.append(image))
        monkeypatch.setattr(cv2, "waitKey", self.wait_key)
        monkeypatch.setattr(cv2, "getWindowProperty", lambda *arguments: self.visible)

    def wait_key(self, delay: int) -> int:
        self.asked += 1
        return self.key


LEAVING = pytest.mark.parametrize(("key", "visible"), [(ord("q"), 1.0), (27, 1.0), (-1, 0.0)])


@LEAVING
def test_q_escape_and_closing_the_window_end_the_run(monkeypatch, key, visible):
    desktop, stop = Desktop(monkeypatch), threading.Event()
    desktop.key, desktop.visible = key, visible
    sink = Window("title", on_quit=stop.set)
    sink.write(result())
    sink.write(result())
    assert stop.is_set()
    assert len(desktop.shown) == 1


@LEAVING
@pytest.mark.parametrize("frames", [[], [1]])
@pytest.mark.parametrize("cameras", [1, 2])
def test_the_window_of_a_camera_that_gives_nothing_hears_its_user(monkeypatch, key, visible, frames, cameras):
    desktop, stop = Desktop(monkeypatch), threading.Event()
    sinks = [Window(f"camera {number}", on_quit=stop.set) for number in range(cameras)]

    sources = [SilentCamera(frames) for _ in range(cameras)]
    options = {"sinks": [sinks[0] if cameras == 1 else BySource(sinks)], "stop": stop}
    thread = threading.Thread(target=run_pipeline, args=(sources, [GreyPredictor()]), kwargs=options)
    thread.start()
    try:
        wait_until(lambda: len(desktop.shown) == cameras * len(frames) and desktop.asked > 3 * cameras)
        desktop.key, desktop.visible = key, visible
        wait_until(stop.is_set)
    finally:
        stop.set()
        thread.join()
    asked = desktop.asked
    for sink in sinks:
        sink.tend()
    assert desktop.asked == asked  # closed ones are left alone
