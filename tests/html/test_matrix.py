"""A confusion matrix as a table: what its cells say, and what is taken together where there are many classes."""

from __future__ import annotations

import re

from cvforge.html.matrix import Matrix, matrix_table, most_confused


def matrix(counts: list[list[int]], *, percent: bool = False) -> Matrix:
    labels = tuple("abcdef"[: len(counts)])
    return Matrix("m", "Title", labels, tuple(map(tuple, counts)), "images", "Note.", percent)


def test_cells_hold_counts_and_say_their_share() -> None:
    text = matrix_table(matrix([[3, 1], [0, 0]]))
    assert re.findall(r"<td[^>]*>([^<]*)</td>", text) == ["", "3", "1", "·", "·"]
    assert 'title="1 images of a as b: 25.0%"' in text
    opacities = re.findall(r"rgba\((\d+),\d+,\d+,([\d.]+)\)", text)
    assert opacities == [("11", "0.49"), ("196", "0.16")]


def test_shares_of_pixels_are_percent_and_a_few_are_not_none() -> None:
    shown = matrix([[9990, 9, 1], [0, 1, 3], [0, 0, 0]], percent=True)
    assert [shown.text(i, j) for i in range(3) for j in range(3)] == [
        "100%",
        "<1%",
        "<1%",
        "",
        "25%",
        "75%",
        "",
        "",
        "",
    ]
    assert "&lt;1%" in matrix_table(shown)


def test_of_many_classes_the_most_confused_remain_and_nothing_is_lost() -> None:
    full = matrix([[5, 0, 0, 0], [0, 4, 3, 0], [0, 2, 4, 1], [0, 0, 0, 9]])
    small = most_confused(full, 2)
    assert small.labels == ("b", "c", "2 others")
    assert small.counts == ((4, 3, 0), (2, 4, 1), (0, 0, 14))
    assert "the 2 classes with the most mistakes" in small.note
    assert most_confused(full, 4) is full
