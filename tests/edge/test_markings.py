"""Lines and zones in the annotated picture, and how strongly a mask covers it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cvforge_edge.draw import draw_prediction
from cvforge_edge.markings import ACTIVE, QUIET, Marking, draw_markings
from cvforge_edge.types import Detections, SegmentationMap
from edge.sink_results import LABELS, result

ZONE = ((0.25, 0.25), (0.75, 0.25), (0.75, 0.75), (0.25, 0.75))


def canvas() -> np.ndarray:
    return np.full((240, 320, 3), 100, np.uint8)


def has_color(image: np.ndarray, color) -> bool:
    return bool((np.abs(image.astype(int) - color) < 40).all(-1).any())  # smoothed edges blend


def test_a_zone_is_outlined_and_tinted_inside_only():
    picture = canvas()
    draw_markings(picture, [Marking(ZONE, "desk  2")])
    assert has_color(picture[58:63, 200:220], QUIET)
    assert (picture[150, 160] != 100).any()
    assert (picture[20:50, 20:300] == 100).all()


def test_a_line_is_drawn_with_an_arrow_to_its_right():
    picture = canvas()
    draw_markings(picture, [Marking(((0.5, 1.0), (0.5, 0.0)), "")])
    assert has_color(picture[60:100, 158:163], QUIET)
    assert has_color(picture[115:125, 165:180], QUIET)
    assert (picture[40:220, :150] == 100).all()


def test_what_is_active_has_another_colour():
    picture = canvas()
    draw_markings(picture, [Marking(ZONE, "desk", active=True)])
    assert has_color(picture, ACTIVE)
    assert not has_color(picture, QUIET)


def test_texts_at_the_same_place_stand_below_each_other():
    one, two = canvas(), canvas()
    draw_markings(one, [Marking(ZONE, "desk")])
    draw_markings(two, [Marking(ZONE, "desk"), Marking(ZONE, "chair")])
    different = np.flatnonzero((one != two).any(-1).any(1))
    dark = np.flatnonzero((one[:, 95] == (24, 24, 24)).all(-1))
    assert (two[dark, 95] == (24, 24, 24)).all()
    assert len(different)


@pytest.mark.parametrize("points", [(), ((0.0, 0.0), (1.0, 1.0)), ((1.0, 1.0), (0.99, 1.0), (1.0, 0.99))])
@pytest.mark.parametrize("size_hw", [(1, 1), (8, 500), (240, 320)])
def test_every_place_and_size_can_be_drawn(points, size_hw):
    picture = np.zeros((*size_hw, 3), np.uint8)
    draw_markings(picture, [Marking(points, "a name that is longer than the picture")] * 3)
    assert picture.shape == (*size_hw, 3)


def test_a_result_draws_its_markings_on_a_copy():
    plain = result(prediction=Detections.empty(), size_hw=(240, 320))
    marked = replace(plain, markings=(Marking(ZONE, "desk"),))
    assert (plain.annotated_bgr == plain.frame.image_bgr).all()
    assert (marked.annotated_bgr != plain.annotated_bgr).any()
    assert (plain.frame.image_bgr == 40).all()


def test_opacity_goes_from_the_picture_alone_to_colours_alone():
    image = np.full((240, 320, 3), 100, np.uint8)
    prediction = SegmentationMap(np.ones((240, 320), np.uint8))
    clear, usual, full = (
        draw_prediction(image, prediction, labels=LABELS, mask_opacity=opacity)[200, 200].astype(int)
        for opacity in (0.0, 0.5, 1.0)
    )
    assert clear.tolist() == [100, 100, 100]
    assert np.abs(usual - (clear + full) / 2).max() <= 1
    through_result = replace(result(prediction=prediction, size_hw=(240, 320)), mask_opacity=1.0)
    assert through_result.annotated_bgr[200, 200].tolist() == full.tolist()
