"""Calibration images, noise of layers, and the search for an int8 file within its budget."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from cvforge.export.calibration import NO_OBJECT, choose_calibration, classes_seen
from cvforge.export.int8 import write_within_budget
from cvforge.export.noise import Layer, LayerNoise, layer_noise
from cvforge_edge.types import ClassLabel, Detections, SegmentationMap


class Truths:
    def __init__(self, truths: Sequence[object]) -> None:
        self.truths = truths

    def __len__(self) -> int:
        return len(self.truths)

    def truth(self, index: int) -> object:
        return self.truths[index]


def boxes(*class_ids: int) -> Detections:
    count = len(class_ids)
    corners = np.tile(np.array([[0, 0, 5, 5]], np.float32), (count, 1))
    return Detections(corners, np.ones(count, np.float32), np.array(class_ids, np.int64))


def test_a_rare_class_is_seen_as_often_as_there_are_images_of_it() -> None:
    data = Truths([ClassLabel(0)] * 90 + [ClassLabel(1)] * 6 + [ClassLabel(2)] * 4)
    chosen = choose_calibration(data, 12)
    assert len(set(chosen)) == 12
    assert np.bincount([data.truths[i].class_id for i in chosen]).tolist() == [4, 4, 4]


def test_images_without_objects_take_their_turn() -> None:
    data = Truths([boxes(0, 1)] * 40 + [boxes()] * 40)
    chosen = choose_calibration(data, 8)
    assert sum(len(data.truths[i]) == 0 for i in chosen) == 4


def test_fewer_images_than_asked_for_are_all_taken() -> None:
    assert choose_calibration(Truths([ClassLabel(0), ClassLabel(1)]), 8) == [0, 1]


def test_the_choice_is_the_same_each_time_and_another_for_another_seed() -> None:
    data = Truths([ClassLabel(i % 3) for i in range(300)])
    assert choose_calibration(data, 9) == choose_calibration(data, 9)
    assert choose_calibration(data, 9) != choose_calibration(data, 9, seed=1)


def test_classes_of_each_kind_of_truth() -> None:
    class_map = np.array([[0, 3], [255, 3]], np.uint8)
    assert classes_seen(SegmentationMap(class_map)) == (0, 3)
    assert classes_seen(boxes(2, 1, 2)) == (1, 2)
    assert classes_seen(boxes()) == (NO_OBJECT,)


def test_the_noise_of_a_layer_is_what_it_adds_to_the_noise_of_its_input() -> None:
    signal = np.full((1, 100), 2.0)
    first = {"a": signal, "b": signal}
    second = {"a": signal + 0.2, "b": signal + 0.6}  # noise power 0.04 and 0.36 of a signal power of 4
    layers = [Layer("first", "Conv", output="a", source="image"), Layer("second", "Conv", output="b", source="a")]
    rows = layer_noise(layers, [first, first], [second, second])
    assert [row.name for row in rows] == ["second", "first"]
    assert [row.added for row in rows] == pytest.approx([0.08, 0.01])
    assert [row.sqnr_db for row in rows] == pytest.approx([10.46, 20.0])


def test_a_layer_that_the_runtime_has_merged_away_is_left_out() -> None:
    layers = [Layer("gone", "Conv", output="x", source="image")]
    assert layer_noise(layers, [{"a": np.ones(1)}], [{"a": np.ones(1)}]) == []


class Recorded:
    """A quantiser of three layers, each of which costs 0.02; the noisiest come first."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, ...]] = []

    def write(self, target: Path, *, float_layers: Sequence[str] = ()) -> None:
        self.asked.append(tuple(float_layers))
        target.write_text(",".join(float_layers))

    def noise(self, int8: Path) -> list[LayerNoise]:
        return [LayerNoise(name, "Conv", sqnr_db=10.0, added=0.1) for name in ("x", "y", "z")]


def loss(path: Path) -> float:
    return 0.06 - 0.02 * len([name for name in path.read_text().split(",") if name])


def test_layers_go_back_to_float_one_by_one_until_the_budget_holds(tmp_path: Path) -> None:
    quantiser = Recorded()
    found = write_within_budget(
        quantiser, tmp_path / "m", loss=partial(loss, tmp_path / "m"), budget=0.025, max_float_layers=9
    )
    assert quantiser.asked == [(), ("x",), ("x", "y")]
    assert found.float_layers == ("x", "y")
    assert [trial.loss for trial in found.trials] == pytest.approx([0.06, 0.04, 0.02])
    assert (tmp_path / "m").read_text() == "x,y"


def test_a_file_within_its_budget_has_every_layer_in_int8(tmp_path: Path) -> None:
    assert (
        write_within_budget(
            Recorded(), tmp_path / "m", loss=partial(loss, tmp_path / "m"), budget=0.1, max_float_layers=9
        ).float_layers
        == ()
    )


def test_a_loss_of_just_the_budget_is_within_it(tmp_path: Path) -> None:
    found = write_within_budget(Recorded(), tmp_path / "m", loss=lambda: 0.25 - 0.24, budget=0.01, max_float_layers=9)
    assert 0.25 - 0.24 > 0.01
    assert len(found.trials) == 1


def test_a_search_that_fails_keeps_its_best_file(tmp_path: Path) -> None:
    losses = iter([0.06, 0.03, 0.03, 0.05])
    quantiser = Recorded()
    found = write_within_budget(quantiser, tmp_path / "m", loss=lambda: next(losses), budget=0.01, max_float_layers=9)
    assert found.float_layers == quantiser.asked[1]
    assert found.best.loss == 0.03
    assert (tmp_path / "m").read_text() == ",".join(quantiser.asked[1])


def test_the_search_ends_where_it_was_told_to_and_says_what_is_still_lost(tmp_path: Path) -> None:
    found = write_within_budget(
        Recorded(), tmp_path / "m", loss=partial(loss, tmp_path / "m"), budget=0.0, max_float_layers=1
    )
    assert found.trials[-1].loss == pytest.approx(0.04)
