"""A picture is compressed only while somebody looks, once for all who look, and the newest always."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import cv2
import numpy as np
import pytest

import cvforge_edge.web.pictures as pictures_module
from cvforge_edge.draw import class_color
from cvforge_edge.markings import Marking
from cvforge_edge.types import SegmentationMap
from cvforge_edge.web.live_stream import LiveStream
from cvforge_edge.web.pictures import Picture, Pictures, encode_jpeg
from edge.sink_results import detections, result

WAIT_S = 20.0


@pytest.fixture
def unlimited(monkeypatch):
    monkeypatch.setattr(pictures_module, "PICTURES_PER_S", 1e9)


def decoded(picture) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(picture.jpeg, np.uint8), cv2.IMREAD_COLOR)


def test_nothing_is_compressed_until_somebody_looks(unlimited):
    camera = Pictures(threading.Lock())
    for index in range(20):
        camera.offer(result(index))
    assert camera.encoded == 0
    assert camera.newest(after=None, timeout_s=0).number == 20
    assert camera.newest(after=None, timeout_s=0).number == 20
    assert camera.encoded == 1


def test_the_picture_shows_what_the_model_found(unlimited):
    camera = Pictures(threading.Lock())
    plain, found = result(size_hw=(96, 128)), result(prediction=detections(), size_hw=(96, 128))
    camera.offer(found)
    shown = decoded(camera.newest(after=None, timeout_s=0)).astype(int)
    to_found, to_plain = (np.abs(shown - other.annotated_bgr).mean() for other in (found, plain))
    assert to_found < 2.5
    assert to_plain > 2 * to_found


def test_a_viewer_sees_lines_zones_and_counts_of_rules_as_a_saved_picture_has_them(unlimited, shared_data):
    clip = cv2.VideoCapture(str(shared_data / "videos" / "bottle-detection.mp4"))
    image = clip.read()[1]
    clip.release()
    zone = Marking(((0.1, 0.1), (0.9, 0.1), (0.9, 0.9)), "table  3", active=True)
    line = Marking(((0.5, 1.0), (0.5, 0.0)), "gate  in 12 out 7")
    plain = result(image_bgr=image, prediction=detections())
    camera, marked = Pictures(threading.Lock()), replace(plain, markings=(zone, line))
    camera.offer(marked)
    shown = decoded(camera.newest(after=None, timeout_s=0))
    assert "annotated_bgr" not in vars(marked)  # the viewer drew it, and not a sink before
    saved = decoded(Picture(0, encode_jpeg(marked.annotated_bgr), 0.0))
    assert (shown == saved).all()
    assert np.abs(shown.astype(int) - decoded(Picture(0, encode_jpeg(plain.annotated_bgr), 0.0))).mean() > 5


@pytest.mark.parametrize("opacity", [0.0, 1.0])
def test_a_viewer_sees_masks_as_strong_as_asked_for(unlimited, opacity):
    image = np.random.default_rng(0).integers(80, 120, (120, 160, 3), np.uint8)
    prediction = SegmentationMap(np.ones((120, 160), np.uint8))
    camera = Pictures(threading.Lock())
    camera.offer(replace(result(image_bgr=image, prediction=prediction), mask_opacity=opacity))
    shown = decoded(camera.newest(after=None, timeout_s=0))[60:, 80:].astype(int)  # beside the legend
    expected = image[60:, 80:].astype(int) if opacity == 0 else np.array(class_color(1))
    assert np.abs(shown - expected).mean() < 12
    other = np.array(class_color(1)) if opacity == 0 else image[60:, 80:].astype(int)
    assert np.abs(shown - other).mean() > 40


def test_a_sink_that_has_drawn_saves_the_viewer_the_drawing(unlimited):
    camera, drawn = Pictures(threading.Lock()), result(size_hw=(32, 32))
    vars(drawn)["annotated_bgr"] = np.full((32, 32, 3), 200, np.uint8)
    camera.offer(drawn)
    assert decoded(camera.newest(after=None, timeout_s=0)).mean() == pytest.approx(200, abs=2)


def test_a_viewer_waits_for_a_newer_picture_and_no_longer_than_it_wants(unlimited):
    camera = Pictures(threading.Lock())
    assert camera.newest(after=None, timeout_s=0.01) is None
    camera.offer(result(0))
    assert camera.newest(after=1, timeout_s=0.01) is None
    threading.Timer(0.05, lambda: camera.offer(result(1))).start()
    assert camera.newest(after=1, timeout_s=WAIT_S).number == 2
    assert camera.newest(after=500, timeout_s=0).number == 2  # of a run before this one


def test_many_viewers_share_one_compression(unlimited):
    camera, seen = Pictures(threading.Lock()), []
    viewers = [
        threading.Thread(target=lambda: seen.append(camera.newest(after=None, timeout_s=WAIT_S))) for _ in range(20)
    ]
    for viewer in viewers:
        viewer.start()
    camera.offer(result())
    for viewer in viewers:
        viewer.join(WAIT_S)
    assert len(seen) == 20
    assert len(set(map(id, seen))) == 1
    assert camera.encoded == 1


def test_fast_results_are_shown_at_a_bounded_rate(monkeypatch):
    monkeypatch.setattr(pictures_module, "PICTURES_PER_S", 4.0)
    camera, number, begun_s = Pictures(threading.Lock()), None, time.monotonic()
    shown = []
    feeding = threading.Event()

    def feed():
        index = 0
        while not feeding.wait(0.005):
            camera.offer(result(index))
            index += 1

    feeder = threading.Thread(target=feed)
    feeder.start()
    while len(shown) < 4:
        picture = camera.newest(after=number, timeout_s=WAIT_S)
        number = picture.number
        shown.append(number)
    elapsed_s = time.monotonic() - begun_s
    feeding.set()
    feeder.join()
    assert elapsed_s >= 3 / 4.0
    assert shown == sorted(set(shown))
    assert camera.encoded == 4


def test_close_lets_waiting_viewers_go():
    camera, gone = Pictures(threading.Lock()), threading.Event()
    viewer = threading.Thread(target=lambda: (camera.newest(after=None, timeout_s=600), gone.set()))
    viewer.start()
    camera.close()
    assert gone.wait(WAIT_S)
    viewer.join()
    assert list(LiveStream(camera, on_close=lambda: None)) == []


def test_large_pictures_are_sent_smaller():
    assert decoded(type("P", (), {"jpeg": encode_jpeg(np.zeros((1080, 1920, 3), np.uint8))})).shape == (720, 1280, 3)
    assert decoded(type("P", (), {"jpeg": encode_jpeg(np.zeros((480, 640, 3), np.uint8))})).shape == (480, 640, 3)
    assert decoded(type("P", (), {"jpeg": encode_jpeg(np.zeros((2, 4000, 3), np.uint8))})).shape == (1, 1280, 3)
