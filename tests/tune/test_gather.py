"""A command line and a file of ranges become one search space, or a list of all that is wrong with them."""

from __future__ import annotations

from itertools import combinations, product
from pathlib import Path

import pytest

from cvforge.config.catalog import options
from cvforge.config.load import load
from cvforge.errors import ConfigError
from cvforge.tune.edges import check_edges, covering_rows
from cvforge.tune.gather import gather_space
from cvforge.tune.own_values import own_values
from cvforge.tune.space import parse_parameter


def space_file(folder: Path, text: str) -> str:
    path = folder / "space.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_words_with_several_values_are_ranges_and_the_others_are_for_all_trials() -> None:
    gathered = gather_space(
        ["model=a,b", "data.root=~/x(1)", "optim.lr=tag(log, interval(1e-4, 1e-2))", "x=[1,2]"], None
    )
    assert gathered.overrides == ["data.root=~/x(1)", "x=[1,2]"]
    assert {p.key: p.written for p in gathered.parameters} == {
        "model": "a,b",
        "optim.lr": "tag(log, interval(1e-4, 1e-2))",
    }


def test_the_command_line_wins_over_the_file(tmp_path: Path) -> None:
    file = space_file(tmp_path, "optim.lr: interval(0.1, 0.2)\noptim.momentum: interval(0.8, 0.9)\nmodel: a,b\n")
    gathered = gather_space(["optim.lr=interval(0.3, 0.4)", "optim.momentum=0.5"], file)
    assert {p.key: p.written for p in gathered.parameters} == {"optim.lr": "interval(0.3, 0.4)", "model": "a,b"}
    assert gathered.set_aside == ["optim.momentum"]


def test_all_problems_of_a_space_are_told_at_once(tmp_path: Path) -> None:
    file = space_file(tmp_path, "optim.lr: 0.1\noptim: {lr: a}\nmetric: a,b\nx: interval(3, 2)\n")
    with pytest.raises(ConfigError) as caught:
        gather_space(["y=log(1, 2)", "z=1", "z=1,2"], file)
    text = str(caught.value)
    assert text.startswith("search space: 6 problems")
    assert "  optim.lr: found 0.1 (a number), expected a range" in text
    assert "  optim: found a mapping; write whole keys, like optim.lr: RANGE" in text
    assert "  metric: cannot be searched: trials would be scored differently" in text
    assert f"  x: found an interval from 3.0 to 2.0, expected a lower number first [{file}]" in text
    assert "  y: found 'log(1, 2)'" in text
    assert "  z: has a value and a range on the command line; leave one out [command line]" in text


@pytest.mark.parametrize(
    ("space", "words"),
    [
        ("detectoin", "did you mean 'detection'"),
        ("- a\n- b\n", "found a list"),
        ("a: [1\n", "not YAML"),
        ("", "found null"),
    ],
)
def test_a_file_that_is_no_space_is_refused(space: str, words: str, tmp_path: Path) -> None:
    name = space if space.isalpha() else space_file(tmp_path, space)
    with pytest.raises(ConfigError, match=words):
        gather_space([], name)


def test_a_search_without_a_range_is_refused() -> None:
    with pytest.raises(ConfigError, match="nothing to search: give --space FILE, or a range"):
        gather_space(["optim.lr=0.1"], None)


@pytest.mark.parametrize("counts", [(1,), (4,), (2, 2), (3, 1, 2), (2, 3, 2, 4, 2), (2,) * 8])
def test_any_two_edges_meet_in_a_row(counts: tuple[int, ...]) -> None:
    rows = covering_rows(counts)
    assert rows[0] == (0,) * len(counts)
    assert all(len(row) == len(counts) and all(0 <= i < n for i, n in zip(row, counts, strict=True)) for row in rows)
    assert {row[0] for row in rows} == set(range(counts[0]))
    for a, b in combinations(range(len(counts)), 2):
        assert {(row[a], row[b]) for row in rows} == set(product(range(counts[a]), range(counts[b])))
    assert len(rows) == len(set(rows)) <= 16


def test_a_value_that_does_not_fit_is_found_before_the_first_trial() -> None:
    written = {
        "optim.lrr": "interval(0.1, 0.2)",
        "optim.lr": "interval(-1, 0.1)",
        "model": "edge_nano,edge_nanoo",
    }
    with pytest.raises(ConfigError) as caught:
        check_edges("det_demo", [], [parse_parameter(key, text) for key, text in written.items()])
    text = str(caught.value)
    assert "'model=edge_nanoo': no such option; did you mean 'edge_nano'?" in text
    assert "optim.lrr: unknown key; did you mean 'lr'?" in text
    assert text.count("optim.lr: found -1.0, expected a number > 0 [command line]") == 1


def test_values_that_do_not_go_together_are_found_before_the_first_trial() -> None:
    space = {"trainer.max_epochs": "int(interval(2, 8))", "optim.warmup_epochs": "interval(1, 4)"}
    with pytest.raises(ConfigError, match=r"optim.warmup_epochs: found 4.0, expected at most trainer.max_epochs \(2\)"):
        check_edges("det_demo", [], [parse_parameter(key, text) for key, text in space.items()])


@pytest.mark.parametrize("space", options("space"))
def test_every_shipped_space_fits_the_demo_config_of_its_task(space: str) -> None:
    config = {"classification": "cls_demo", "detection": "det_demo", "segmentation": "seg_demo"}[space]
    parameters = gather_space([], space).parameters
    first = check_edges(config, [], parameters)
    assert first.optim.lr == 3e-4
    assert first.task == space
    load(config, [parameter.override(parameter.values.edges[-1]) for parameter in parameters])


def test_a_search_begins_with_the_values_of_the_config_when_they_lie_in_the_space() -> None:
    space = {
        "optim.lr": "tag(log, interval(1e-4, 1e-2))",
        "model": "classifier_nano,classifier_lite0",
        "data.batch_size": "range(8, 65, step=8)",
        "augment.area_range": "choice([0.5,1.0], [0.25,1.0])",
    }
    inside = [parse_parameter(key, text) for key, text in space.items()]
    chosen = ["augment.area_range=[0.25,1.0]", "data.batch_size=16"]
    assert own_values("cls_demo", chosen, inside) == {
        "optim.lr": 2e-3,
        "model": "classifier_lite0",
        "data.batch_size": 16,
        "augment.area_range": "[0.25,1.0]",
    }
    assert own_values("cls_demo", [*chosen, "optim.lr=0.02"], inside) is None
    assert own_values("cls_demo", ["augment.area_range=[0.3,1.0]", "data.batch_size=16"], inside) is None
    assert own_values("cls_demo", ["augment.area_range=[0.5,1.0]", "data.batch_size=12"], inside) is None
