"""Class names that read back the same."""

from __future__ import annotations

import pytest

from cvforge_edge.labels import label_name, label_problems


def test_good_labels_have_no_problems() -> None:
    assert label_problems(["person", "traffic light", "Schäferhund", "0"]) == []


@pytest.mark.parametrize("bad", ["", " ", " cat", "cat\n", "a\tb", 3, None])
def test_a_label_that_would_not_read_back_is_named_with_its_index(bad: object) -> None:
    problems = label_problems(["dog", bad])
    assert len(problems) == 1
    assert problems[0].startswith(f"labels[1]: found {bad!r}")


def test_every_problem_is_reported_and_a_repeat_names_its_twin() -> None:
    problems = label_problems(["cat", "", "cat"])
    assert len(problems) == 2
    assert "labels[2]: 'cat' is already labels[0]" in problems[1]


def test_no_labels_is_a_problem() -> None:
    assert label_problems([]) == ["labels: found none, accepted at least one class name"]


def test_label_name_has_an_answer_for_every_id() -> None:
    assert [label_name(("cat", "dog"), i) for i in (0, 1, 2, 255, -1)] == ["cat", "dog", "class 2", "void", "class -1"]
