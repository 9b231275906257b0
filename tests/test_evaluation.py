"""The one loop that scores everything."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from cvforge.errors import DataError
from cvforge.evaluation import evaluate, spread_indices
from cvforge.metrics.classification import TopKAccuracy
from cvforge_edge.types import ClassLabel, ClassScores


@dataclass(frozen=True)
class Item:
    image_bgr: np.ndarray
    truth: ClassLabel
    image_id: str


class Numbers:
    """Image i is filled with i; its class is i modulo 3."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Item:
        return Item(np.full((2, 2, 3), index, np.uint8), ClassLabel(index % 3), str(index))


class AlwaysRightButFor:
    def __init__(self, wrong: set[int]) -> None:
        self.wrong = wrong
        self.seen: list[int] = []

    def predict(self, image_bgr: np.ndarray) -> ClassScores:
        index = int(image_bgr[0, 0, 0])
        self.seen.append(index)
        probs = np.zeros(3, np.float32)
        probs[(index + (index in self.wrong)) % 3] = 1
        return ClassScores(probs)


def metric() -> TopKAccuracy:
    return TopKAccuracy(("a", "b", "c"))


def test_every_image_is_scored_once_and_progress_is_told_after_each() -> None:
    told: list[tuple[int, int]] = []
    model = AlwaysRightButFor({1})
    scores = evaluate(model, Numbers(4), metric(), progress=lambda done, total: told.append((done, total)))
    assert scores["top1"] == 0.75
    assert model.seen == [0, 1, 2, 3]
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_a_metric_with_an_earlier_score_starts_anew() -> None:
    reused = metric()
    evaluate(AlwaysRightButFor({0, 1, 2, 3}), Numbers(4), reused)
    assert evaluate(AlwaysRightButFor(set()), Numbers(2), reused)["top1"] == 1.0


def test_a_limit_spreads_over_the_whole_set() -> None:
    model = AlwaysRightButFor(set())
    evaluate(model, Numbers(10), metric(), limit=3)
    assert model.seen == [0, 3, 6]


@pytest.mark.parametrize(
    ("count", "limit", "expected"),
    [(3, None, [0, 1, 2]), (3, 5, [0, 1, 2]), (3, 3, [0, 1, 2]), (4, 1, [0]), (0, 2, []), (7, 2, [0, 3])],
)
def test_positions_are_spread_evenly(count: int, limit: int | None, expected: list[int]) -> None:
    assert spread_indices(count, limit) == expected


def test_an_empty_data_set_is_an_error_of_the_data() -> None:
    with pytest.raises(DataError, match="the data set has no image; check data.root and the split"):
        evaluate(AlwaysRightButFor(set()), Numbers(0), metric())


def test_a_metric_that_is_undefined_on_the_images_is_an_error_of_the_data() -> None:
    class Undefined(TopKAccuracy):
        def compute(self) -> dict[str, float]:
            raise ValueError("no labelled pixel")

    with pytest.raises(DataError, match="evaluation: no labelled pixel"):
        evaluate(AlwaysRightButFor(set()), Numbers(1), Undefined(("a", "b", "c")))
