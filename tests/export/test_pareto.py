"""Which files are on the front, what the picture shows, and that no label covers another."""

from __future__ import annotations

import itertools
from dataclasses import replace

import cv2
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from cvforge.export.label_places import Box, Mark, best_place, place_labels
from cvforge.export.pareto import Candidate, pareto_front
from cvforge.export.pareto_plot import choose_axes, draw_pareto
from cvforge_edge.interval import ScoreInterval

FILES = [
    Candidate(f"model_{precision}.{form}", form, precision, size, latency_ms, score, ScoreInterval(0.55, 0.61, 0.95))
    for form, precision, size, latency_ms, score in [
        ("tflite", "fp32", 13_110_000, 23.9, 0.5786),
        ("tflite", "fp16", 6_640_000, 24.7, 0.5797),
        ("tflite", "int8", 3_620_000, 13.2, 0.5756),
        ("onnx", "fp32", 13_140_000, 26.2, 0.5786),
        ("onnx", "fp16", 6_620_000, 26.3, 0.5797),
        ("onnx", "int8", 3_880_000, 19.3, 0.5801),
    ]
]


def draw(files: list[Candidate], *, primary: str | None = "map", checkpoint: float | None = 0.5786) -> np.ndarray:
    png = draw_pareto(files, title="cells <b> $x$", primary=primary, checkpoint_score=checkpoint)
    assert png is not None
    picture = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    return picture


def brute_force(points: list[tuple[float, float]]) -> set[int]:
    """By the definition: no other point is at most as large in both and smaller in one."""
    return {k for k, (x, y) in enumerate(points) if not any(a <= x and b <= y and (a < x or b < y) for a, b in points)}


def test_the_front_is_that_of_its_definition_for_random_points_with_ties() -> None:
    generator = np.random.default_rng(5)
    for _ in range(300):
        points = [(int(x), int(y)) for x, y in generator.integers(0, 6, (int(generator.integers(1, 9)), 2))]
        front = pareto_front(points)
        assert set(front) == brute_force(points), points
        assert [points[k][0] for k in front] == sorted(points[k][0] for k in front)


def test_a_score_is_better_when_higher_and_a_latency_when_lower() -> None:
    axes = choose_axes(FILES, primary="map")
    assert axes is not None
    assert [FILES[k].path for k in axes.front] == ["model_int8.tflite", "model_int8.onnx"]


def test_the_axes_are_what_was_measured() -> None:
    untimed = [replace(file, latency_ms=None) for file in FILES]
    unscored = [replace(file, score=None, interval=None) for file in FILES]
    labels = [
        (axes.x_label.split()[0], axes.y_label.split()[0])
        for axes in (
            choose_axes(FILES, primary="map"),
            choose_axes(untimed, primary="map"),
            choose_axes(unscored, primary=None),
        )
        if axes is not None
    ]
    assert labels == [("latency", "map"), ("size", "map"), ("latency", "size")]
    assert choose_axes([replace(file, latency_ms=None) for file in unscored], primary=None) is None
    assert (
        draw_pareto(
            [replace(file, latency_ms=None) for file in unscored], title="", primary=None, checkpoint_score=None
        )
        is None
    )


def test_the_picture_decodes_and_shows_every_precision_in_its_colour() -> None:
    picture = draw(FILES)
    assert picture.shape[0] > 500
    assert picture.shape[1] > 900
    assert picture.std() > 10
    for colour_bgr in ((0x99, 0x6E, 0x0B), (0x2C, 0x38, 0xB3)):  # fp32 and int8 error bars
        assert (np.abs(picture.astype(int) - colour_bgr).max(axis=2) < 12).sum() > 50


@pytest.mark.parametrize("spread", [1.0, 3.9, 4.1, 500.0])
def test_pictures_of_few_files_and_wide_spreads_are_drawn(spread: float) -> None:
    files = [replace(FILES[0], latency_ms=2.0), replace(FILES[5], latency_ms=2.0 * spread)]
    assert draw(files).std() > 5
    assert draw(files[:1], checkpoint=None).std() > 5
    assert draw([replace(file, interval=None) for file in files]).std() > 5


def test_a_file_without_a_latency_is_left_out_of_the_picture() -> None:
    crashed = [FILES[0], replace(FILES[2], latency_ms=None)]
    assert (draw(crashed) == draw(crashed[:1])).all()


def test_an_interval_beside_its_score_is_drawn_up_to_the_score() -> None:
    assert draw([replace(FILES[0], interval=ScoreInterval(0.58, 0.60, 0.95))]).std() > 5


def crowded() -> list[Mark]:
    generator = np.random.default_rng(1)
    return [
        Mark(float(x), float(y), float(y) - 0.05, float(y) + 0.05, 6.0, f"int8 onnx\n{k}.12 MB", "#000000")
        for k, (x, y) in enumerate(generator.uniform(0.3, 0.7, (8, 2)))
    ]


def test_no_label_of_a_crowd_covers_another_or_leaves_the_picture() -> None:
    figure = Figure(figsize=(9, 5.4))
    canvas = FigureCanvasAgg(figure)
    plot = figure.subplots()
    plot.set_xlim(0, 1)
    plot.set_ylim(0, 1)
    canvas.draw()
    boxes = place_labels(plot, crowded(), lines=[((0, 0.5), (1, 0.5))])
    assert len(boxes) == 8
    assert [pair for pair in itertools.combinations(boxes, 2) if pair[0].shared(pair[1])] == []
    extent = plot.get_window_extent()
    for box in boxes:
        assert extent.x0 <= box.left < box.right <= extent.x1
        assert extent.y0 <= box.bottom < box.top <= extent.y1
    canvas.draw()
    for box, text in zip(boxes, plot.texts, strict=True):  # matplotlib's own view of where the texts are
        found = Text.get_window_extent(text)  # an annotation's own includes its line
        assert (found.x0, found.y0) == pytest.approx((box.left, box.bottom), abs=2)


def test_the_nearest_free_place_is_taken_and_a_covered_one_only_if_all_are() -> None:
    inside, size = Box(0, 0, 400, 400), (40, 10)
    right = best_place((200, 200), size, radius=5, taken=[], inside=inside, unit=1)
    assert (right.left, right.bottom) == (210, 195)
    other = best_place((200, 200), size, radius=5, taken=[right], inside=inside, unit=1)
    assert other.shared(right) == 0
    everything = best_place((200, 200), size, radius=5, taken=[inside], inside=inside, unit=1)
    assert everything == right
