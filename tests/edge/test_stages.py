"""What takes how long: the parts of a prediction, decoding, and how long frames wait."""

from __future__ import annotations

import re
import time
from dataclasses import replace

import numpy as np
import pytest

from cvforge_edge.camera import open_source
from cvforge_edge.evidence.glance import Glances, WatchedPredictor
from cvforge_edge.image_io import write_image
from cvforge_edge.predictor import Predictor
from cvforge_edge.region import RegionPredictor, parse_region
from cvforge_edge.sources.image_files import ImageFiles
from cvforge_edge.sources.video_file import VideoFile
from edge.conftest import tiny_manifest
from edge.mjpeg import MjpegServer
from edge.test_pipeline import WAIT_S, ListSink, ListSource, run


def in_region(predictor):
    return RegionPredictor(predictor, parse_region("0.0,0.0,1.0,1.0"))


def watched(predictor):
    return WatchedPredictor(predictor, bundle=None, glances=Glances())


class SlowBackend:
    """Takes its time."""

    def __init__(self, outputs, seconds: float) -> None:
        self.outputs, self.seconds = outputs, seconds

    def run(self, input_u8):
        time.sleep(self.seconds)
        return self.outputs

    def close(self) -> None:
        pass


@pytest.mark.parametrize("around", [lambda predictor: predictor, in_region, watched])
def test_parts_of_a_prediction_are_told_apart_whatever_is_around_the_model(around):
    backend = SlowBackend({"probs": np.array([[0.2, 0.3, 0.5]], np.float32)}, 0.02)
    predictor = around(Predictor(backend, tiny_manifest("classifier")))
    assert predictor.times is None
    source = ListSource([1, 2, 3])
    read = source.read
    source.read = lambda *, timeout_s: None if (f := read(timeout_s=timeout_s)) is None else replace(f, decode_s=0.004)
    summary = run(source, [ListSink()], predictor=predictor)
    figures = summary.latency
    assert list(figures) == ["decode", "queue", "wait", "predict", "prepare", "network", "finish", "write", "age"]
    assert all(stage.count == 3 for stage in figures.values())
    assert figures["decode"].p50_ms == pytest.approx(4.0)
    assert figures["network"].total_s >= 3 * 0.02
    parts_s = sum(figures[part].total_s for part in ("prepare", "network", "finish"))
    assert figures["network"].total_s < parts_s <= figures["predict"].total_s
    row = next(line for line in summary.lines() if "network" in line)
    assert re.fullmatch(r"  network  p50 +[\d.]+ ms   p95 +[\d.]+ ms   p99 +[\d.]+ ms", row)


def test_decoding_is_measured_where_frames_come_from(shared_data, tmp_path):
    clip = shared_data / "videos" / "bottle-detection.mp4"
    begun_s = time.monotonic()
    with VideoFile(clip) as video:
        frames = [video.read(timeout_s=0) for _ in range(20)]
    elapsed_s = time.monotonic() - begun_s
    assert all(frame.decode_s > 0 for frame in frames)
    assert sum(frame.decode_s for frame in frames) < elapsed_s
    write_image(tmp_path / "a.png", frames[0].image_bgr)
    assert 0 < ImageFiles(tmp_path).read(timeout_s=0).decode_s < WAIT_S
    server = MjpegServer(image_bgr=frames[0].image_bgr)
    with open_source(f"http://127.0.0.1:{server.port}/") as camera:
        camera.wait_until_connected()
        frame = camera.read(timeout_s=WAIT_S)
    server.close()
    assert 0 < frame.decode_s < 1.0  # of the processor: waiting for the camera does not count
