"""Fewer results than pictures, evenly, for each source on its own."""

from __future__ import annotations

from dataclasses import replace

from cvforge_edge.sinks.throttle import Throttle
from edge.sink_results import result


def at(seconds: float, *, camera: int = 0, source: str = "a"):
    of = result(source=source)
    return replace(of, frame=replace(of.frame, captured_s=seconds), camera=camera)


def test_every_result_passes_without_a_rate():
    throttle = Throttle(None)
    assert all(throttle.passes(at(0.0)) for _ in range(5))


def test_images_of_a_folder_are_one_source_and_cameras_are_not():
    throttle = Throttle(2.0)
    passed = [i for i in range(20) if throttle.passes(at(i / 10, source=f"folder/{i}.jpg"))]
    assert passed == [0, 5, 10, 15]
    assert throttle.passes(at(1.95, camera=1))
    assert not throttle.passes(at(1.96, camera=1))
    assert len(throttle._due_s) == 2
