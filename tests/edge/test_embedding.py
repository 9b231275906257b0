"""Mean, covariance and distances of embeddings against numpy, scipy and scikit-learn; and JSON refused for its reasons."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from cvforge_edge.errors import BundleError, SpecError
from cvforge_edge.stats.embedding import MAX_WIDTH, EmbeddingStatistics
from cvforge_edge.stats.statistics import Statistics
from cvforge_edge.types import Detections, Task

LABELS = ("a", "b")
WIDTH = 3
IMAGE = np.zeros((4, 4, 3), np.uint8)


def points(count: int, *, width: int = WIDTH, seed: int = 0, at: float = 0.0) -> np.ndarray:
    """Correlated points (count, width) of unequal spread."""
    rng = np.random.default_rng(seed)
    mixing = np.diag(np.linspace(0.5, 2, width)) + 0.1 * np.random.default_rng(7).normal(size=(width, width))
    return (rng.normal(size=(count, width)) @ mixing + at).astype(np.float32)


def of_points(rows: np.ndarray) -> EmbeddingStatistics:
    made = EmbeddingStatistics(rows.shape[1])
    for row in rows:
        made.merge(EmbeddingStatistics.of(row))
    return made


def statistics(count: int = 5) -> Statistics:
    made = Statistics(Task.DETECTION, LABELS)
    for row in points(count):
        made.add(IMAGE, Detections.empty(), embedding=row)
    assert made.embedding is not None
    made.embedding.distances.add(made.embedding.distance(points(count)))
    return made


def document() -> dict[str, Any]:
    return json.loads(statistics().to_json())


def refused(value: Any) -> str:
    with pytest.raises(BundleError) as caught:
        Statistics.from_value(value, task=Task.DETECTION, labels=LABELS, where="a/manifest.json")
    assert BundleError.exit_code == 7
    assert str(caught.value).startswith("a/manifest.json: ")
    return str(caught.value)


@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_mean_and_covariance_are_numpys_also_far_from_zero(offset: float) -> None:
    rows = points(200).astype(np.float64) + offset
    made = of_points(rows)
    np.testing.assert_allclose(made.mean, rows.mean(axis=0), rtol=1e-12, atol=1e-9)
    np.testing.assert_allclose(made.covariance, np.cov(rows.T, bias=True), rtol=1e-9, atol=1e-9)


def test_parts_merge_to_the_whole_in_any_order_and_an_empty_part_changes_nothing() -> None:
    rows = points(60)
    parts = [of_points(rows[:1]), of_points(rows[1:50]), of_points(rows[50:]), EmbeddingStatistics(WIDTH)]
    joined = EmbeddingStatistics(WIDTH)
    for part in reversed(parts):
        joined.merge(part)
    whole = of_points(rows)
    assert joined.images == whole.images == 60
    np.testing.assert_allclose(joined.mean, whole.mean, rtol=1e-12)
    np.testing.assert_allclose(joined.scatter, whole.scatter, rtol=1e-9)


@pytest.mark.parametrize(("count", "width"), [(10, 32), (87, 32), (500, 32), (40, 2)])
def test_distances_are_those_of_scikit_learns_shrunk_covariance(count: int, width: int) -> None:
    covariance = pytest.importorskip("sklearn.covariance")
    rows, others = points(count, width=width).astype(np.float64), points(9, width=width, seed=1, at=2.0)
    expected = covariance.OAS().fit(rows).mahalanobis(others.astype(np.float64))
    np.testing.assert_allclose(of_points(rows).distance(others), np.sqrt(expected / width), rtol=1e-6)


def test_images_of_the_same_kind_lie_at_about_one_and_so_do_the_means_of_windows() -> None:
    made = of_points(points(400, width=32))
    assert 0.9 < np.median(made.distance(points(400, width=32, seed=1))) < 1.1
    shifts = [made.shift(of_points(points(20, width=32, seed=seed))) for seed in range(2, 40)]
    assert 0.9 < np.median(shifts) < 1.1
    assert max(shifts) < 1.6
    assert made.shift(of_points(points(20, width=32, seed=1, at=1.5))) > 1.8


def test_a_shift_is_the_root_of_hotellings_statistic() -> None:
    """One number an image, where nothing is shrunk: Student's t with the population variance of the reference."""
    reference, window = np.array([1.0, 2.0, 3.0, 6.0]), np.array([5.0, 9.0])
    found = of_points(reference[:, None]).shift(of_points(window[:, None]))
    assert found == pytest.approx((7.0 - 3.0) / np.sqrt(3.5 * (1 / 4 + 1 / 2)))


@pytest.mark.parametrize(
    ("embedding", "words"),
    [
        (np.zeros((1, 3)), r"found shape \(1, 3\), expected \(d,\) with d in 1..256"),
        (np.zeros(0), r"found shape \(0,\)"),
        (np.zeros(MAX_WIDTH + 1), r"found shape \(257,\)"),
        (np.array([0, np.nan, 0]), "found NaN, Infinity or a number above 1e\\+15"),
        (np.array([0, -np.inf, 0]), "found NaN, Infinity"),
        (np.array([0, 1e16, 0]), "a number above"),
        (np.zeros(4), "found 4 numbers, but images before had 3"),
        (None, "found 0 numbers, but images before had 3"),
    ],
)
def test_an_embedding_that_cannot_be_taken_in_leaves_everything_as_it_was(embedding: Any, words: str) -> None:
    made = statistics()
    before = made.to_json()
    with pytest.raises(SpecError, match=words):
        made.add(IMAGE, Detections.empty(), embedding=embedding)
    assert made.to_json() == before


def test_statistics_with_and_without_embeddings_are_not_mixed() -> None:
    without = Statistics(Task.DETECTION, LABELS)
    without.add(IMAGE, Detections.empty())
    with pytest.raises(SpecError, match="found 3 numbers, but images before had 0"):
        without.merge(statistics())
    joined = Statistics(Task.DETECTION, LABELS)
    joined.merge(Statistics(Task.DETECTION, LABELS))
    joined.merge(statistics())
    joined.merge(Statistics(Task.DETECTION, LABELS))
    assert joined.to_json() == statistics().to_json()
    with pytest.raises(SpecError, match="embeddings of 2 numbers cannot join those of 3"):
        EmbeddingStatistics(3).merge(EmbeddingStatistics(2))


@pytest.mark.parametrize(
    "made", [EmbeddingStatistics(2), of_points(points(1)), of_points(np.ones((5, 2)))], ids=["none", "one", "equal"]
)
def test_there_is_no_distance_from_images_without_spread(made: EmbeddingStatistics) -> None:
    assert not made.can_measure
    with pytest.raises(SpecError, match="expected at least two that differ"):
        made.distance(np.zeros((1, made.width)))
    with pytest.raises(SpecError, match=r"expected \(n, "):
        made.distance(np.zeros((1, made.width + 1)))
    with pytest.raises(SpecError, match="a window without images"):
        of_points(points(5)).shift(EmbeddingStatistics(WIDTH))


@pytest.mark.parametrize("count", [1, 2, 40])
def test_statistics_with_embeddings_read_back_equal_and_can_be_continued(count: int) -> None:
    made = Statistics(Task.DETECTION, LABELS)
    for row in points(count, width=32):
        made.add(IMAGE, Detections.empty(), embedding=row)
    again = Statistics.from_json(made.to_json(), task=Task.DETECTION, labels=LABELS, where="x")
    assert again.to_json() == made.to_json()
    again.merge(made)
    assert again.embedding is not None and again.embedding.images == 2 * count
    np.testing.assert_allclose(again.embedding.covariance, made.embedding.covariance, rtol=1e-9)  # type: ignore[union-attr]


def test_statistics_of_version_1_are_read_and_have_no_embedding() -> None:
    value = document()
    value["schema_version"] = 1
    assert "embedding: unknown key" in refused(value)
    del value["embedding"]
    read = Statistics.from_value(value, task=Task.DETECTION, labels=LABELS, where="x")
    assert read.embedding is None
    assert read.images == 5


def test_every_key_of_an_embedding_is_needed_and_refuses_another_type() -> None:
    for key in ("images", "mean", "scatter", "distances"):
        value = document()
        del value["embedding"][key]
        assert f"embedding.{key}: missing" in refused(value)
        for wrong in (None, True, "text", [None], {"a": 1}):
            value = document()
            value["embedding"][key] = wrong
            assert f"embedding.{key}" in refused(value)


@pytest.mark.parametrize(
    ("key", "wrong", "words"),
    [
        ("images", 6, "different numbers of images: [5, 6]"),
        ("images", 1, "images: found 1, but there is a mean or a scatter"),
        ("images", 2**60, "accepted at most 9007199254740992"),
        ("mean", [], "mean: found 0 numbers, accepted 1..256"),
        ("mean", [0.0] * 257, "mean: found 257 numbers, accepted 1..256"),
        ("mean", [0.0] * 4, "scatter: found 6 numbers, expected 10: the upper triangle of 4 rows"),
        ("mean", [0.0, 1e200, 0.0], "mean: found numbers above 1e+15"),
        ("scatter", [1.0, 0.0, 0.0, 1.0, 0.0, -1e-3], "scatter: found an eigenvalue of -0.001, accepted at least 0"),
        ("scatter", [1.0, 2.0, 0.0, 1.0, 0.0, 1.0], "scatter: found an eigenvalue of -1"),
        ("scatter", [1e300] * 6, "found numbers above 1e+15"),
        ("more", 1, "embedding.more: unknown key"),
    ],
)
def test_numbers_that_no_images_can_have_given_are_refused(key: str, wrong: Any, words: str) -> None:
    value = document()
    value["embedding"][key] = wrong
    assert words in refused(value)


def test_distances_that_no_images_can_have_are_refused() -> None:
    value = document()
    value["embedding"]["distances"]["counts"][0] += 1
    assert "embedding.distances: found 6 of 5 images" in refused(value)
    value = document()
    value["embedding"]["distances"]["minimum"] = -0.5
    assert "embedding.distances.minimum: found -0.5, accepted at least 0" in refused(value)


def test_rounding_does_not_make_a_flat_set_of_points_unreadable() -> None:
    """Three points in 32 dimensions span two of them; the other eigenvalues are 0 but for rounding."""
    made = of_points(points(3, width=32, at=1e4))
    value = {**document(), "embedding": made.to_value()}
    for entry in (*value["input"].values(), value["prediction"]["objects"]):
        if "mean" in entry:
            entry["counts"] = [3 if count else 0 for count in entry["counts"]]
    value["prediction"]["classes"]["images"] = 3
    read = Statistics.from_value(value, task=Task.DETECTION, labels=LABELS, where="x").embedding
    assert read is not None and read.can_measure
    assert np.isfinite(read.distance(points(5, width=32))).all()
