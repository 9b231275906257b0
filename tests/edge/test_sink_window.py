"""The window with annotated frames: refused where there is none, and left with a key or its cross."""

from __future__ import annotations

import threading

import cv2
import pytest

from cvforge_edge.errors import UsageError
from cvforge_edge.sinks.window import Window
from edge.sink_results import result


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
