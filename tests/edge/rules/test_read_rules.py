"""Rules files: what is accepted, and every problem at once with its place."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from cvforge_edge.errors import RulesError
from cvforge_edge.rules.read import parse_rules, read_rules
from cvforge_edge.rules.rule_types import (
    ClassChange,
    LabelHeld,
    LineCrossing,
    PixelShare,
    Rules,
    ZoneDwell,
    ZoneOccupancy,
)
from cvforge_edge.types import Task

EXAMPLE = Path(__file__).resolve().parents[3] / "deploy" / "edge" / "rules.example.yaml"
LABELS = ("person", "car", "truck")
TRIANGLE = [[0, 0], [1, 0], [0.5, 1]]
LINE = {"name": "door", "kind": "line_crossing", "line": [[0.5, 1.0], [0.5, 0.0]]}


def parse(value, *, task=Task.DETECTION) -> Rules:
    return parse_rules(value, task=task, labels=LABELS, where="rules.yaml")


def problems_of(value, *, task=Task.DETECTION) -> list[str]:
    with pytest.raises(RulesError) as caught:
        parse(value, task=task)
    assert caught.value.exit_code == 2
    first, *lines = str(caught.value).splitlines()
    assert first == f"rules.yaml: {len(lines)} problem" + ("s" if len(lines) > 1 else "")
    return [line.strip() for line in lines]


def file_problem(tmp_path: Path, text: str | bytes) -> str:
    path = tmp_path / "rules.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(RulesError) as caught:
        read_rules(path, task=Task.DETECTION, labels=LABELS)
    assert caught.value.exit_code == 2
    return str(caught.value).removeprefix(f"{path}: ")


def test_the_example_is_read_as_it_says():
    rules = read_rules(EXAMPLE, task=Task.DETECTION, labels=LABELS)
    room = ((0.1, 0.5), (0.9, 0.5), (0.9, 1.0), (0.1, 1.0))
    assert rules == Rules(
        (
            LineCrossing("door", ((0.5, 1.0), (0.5, 0.0)), labels=("person",), cooldown_s=1),
            ZoneOccupancy("queue", room, at_least=3, for_s=2, cooldown_s=30),
            ZoneDwell("loitering", room, longer_than_s=10, events=("dwelled",), for_s=0.5),
        ),
        draw=True,
        max_gap_s=5,
    )


def test_rules_for_images_are_read_with_their_defaults():
    held = {"name": "a", "kind": "label_held", "label": "car", "min_score": 0.8, "for_s": 2}
    change = {"name": "b", "kind": "class_change"}
    rules = parse({"units": "fraction", "rules": [held, change]}, task=Task.CLASSIFICATION)
    assert rules.rules == (LabelHeld("a", "car", min_score=0.8, for_s=2), ClassChange("b"))
    share = {"name": "c", "kind": "pixel_share", "label": "car", "above": 0.25}
    rules = parse({"units": "fraction", "rules": [share], "draw": False}, task=Task.SEGMENTATION)
    assert rules == Rules((PixelShare("c", "car", 0.25),), draw=False)


def test_pixels_become_fractions_of_the_stated_picture():
    line = {**LINE, "line": [[0, 432], [192, 108]]}
    rules = parse({"units": "pixels", "picture_hw": [432, 768], "rules": [line]})
    assert rules.rules[0].line == ((0, 1), (0.25, 0.25))


def test_rules_may_be_for_some_sources_only():
    here = {**LINE, "name": "here", "sources": ["a.mp4"]}
    rules = parse({"units": "fraction", "rules": [LINE, here]})
    assert [rule.name for rule in rules.for_source("a.mp4").rules] == ["door", "here"]
    assert [rule.name for rule in rules.for_source("b.mp4").rules] == ["door"]


def test_every_problem_is_listed_with_its_place():
    value = {
        "units": "fraction",
        "drow": True,
        "rules": [
            {**LINE, "line": [[0.5, 1.2], [0.5, 0.0]], "cooldown": 1, "labels": ["persn"]},
            {"name": "queue", "kind": "zone_occupancy", "zone": TRIANGLE[:2], "at_least": 0, "for_s": -1},
            {"name": "queue", "kind": "zone_dwell", "zone": TRIANGLE, "events": ["entered"], "anchor": "top"},
        ],
    }
    assert problems_of(value) == [
        "rules[0].line[0]: found [0.5, 1.2], expected x from 0 to 1 and y from 0 to 1",
        "rules[0].labels[0]: found 'persn', expected a label of the model, one of person, car, truck; did you mean person?",
        "rules[0].cooldown: unknown key, did you mean cooldown_s?; accepted anchor, cooldown_s, kind, labels, line, name, "
        "sources",
        "rules[1].at_least: found 0, expected a whole number of at least 1",
        "rules[1].zone: found [[0, 0], [1, 0]], expected a list of at least 3 points [x, y]",
        "rules[1].for_s: found -1, expected a number of at least 0",
        "rules[2].events: found 'entered', expected one of zone_entered, zone_left, dwelled; did you mean zone_entered?",
        'rules[2].anchor: found "top", expected one of bottom, center',
        "drow: unknown key, did you mean draw?; accepted draw, max_gap_s, picture_hw, rules, units",
    ]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"units": "percent"}, 'units: found "percent", expected one of fraction, pixels'),
        ({"units": "pixels"}, "picture_hw: missing, expected a list of whole numbers"),
        ({"units": "pixels", "picture_hw": [0, 5]}, "picture_hw: found [0, 5], expected height and width in pixels"),
        ({"picture_hw": [4, 5]}, "picture_hw: belongs to units: pixels; leave it out"),
        ({"max_gap_s": float("nan")}, "max_gap_s: found nan, expected a number of at least 0"),
        ({"rules": []}, "rules: found none, expected at least one rule"),
        ({"rules": [LINE, LINE]}, "rules: the name 'door' is given twice"),
        ({"rules": [{**LINE, "name": " "}]}, "rules[0].name: found ' ', expected one line of text"),
        (
            {"rules": [{**LINE, "labels": []}]},
            "rules[0].labels: found [], expected at least one label, or leave it out",
        ),
        ({"rules": [{**LINE, "line": [[0.5, 0.5], [0.5, 0.5]]}]}, "expected two points [x, y] that are not one spot"),
        ({"rules": [{**LINE, "line": [[True, 0], [1, 1]]}]}, "rules[0].line[0]: found [True, 0], expected [x, y]"),
        ({"rules": [{**LINE, "kind": "line"}]}, "expected one of line_crossing, zone_occupancy, zone_dwell"),
        ({"rules": ["door"]}, 'rules[0]: found "door", expected an object'),
        (
            {"rules": [{"name": "z", "kind": "zone_dwell", "zone": [[0, 0], [0.5, 0.5], [1, 1]]}]},
            "that are not one spot or one line",
        ),
        (
            {"rules": [{"name": "z", "kind": "zone_dwell", "zone": TRIANGLE, "events": ["dwelled"]}]},
            "rules[0].events: dwelled and longer_than_s belong together",
        ),
        (
            {"rules": [{"name": "l", "kind": "pixel_share", "label": "car", "above": 0.5}]},
            "rules[0].kind: pixel_share is for segmentation, but the model does detection",
        ),
    ],
)
def test_a_wrong_value_is_named(changes, problem):
    assert any(problem in line for line in problems_of({"units": "fraction", "rules": [LINE], **changes}))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("units: fraction\nunits: pixels\n", "line 2: key 'units' is given twice"),
        ("units: [fraction\n", "no valid YAML"),
        ("a: &x [1]\nb: *x\n", "aliases (*name) are not accepted"),
        ("a: !!python/object/apply:os.system ['true']\n", "accepted are plain values"),
        ("a: !!binary aGk=\n", "accepted are plain values"),
        ("1: a\n", "found the key '1', accepted are names as keys"),
        ("<<: {a: 1}\n", "accepted are names as keys"),
        ("[" * 5000, "nested too deep"),
        ("# " + "x" * 300_000, "that is no rules file"),
        ("", "top level: found null, expected an object"),
        ("a\x00b", "no valid YAML"),
        (b"\xff\xfe\xfa", "not UTF-8 text"),
        ("units: 2026-11-23\nrules: 5\n", 'units: found "2026-11-23", expected one of fraction, pixels'),
        ("units: fraction\nrules: []\n---\nunits: pixels\n", "no valid YAML"),
    ],
)
def test_a_file_that_is_no_plain_yaml_is_refused(tmp_path, text, words):
    assert words in file_problem(tmp_path, text)


def test_a_syntax_error_names_its_line(tmp_path):
    assert file_problem(tmp_path, "units: fraction\nrules:\n  - name: a\n   kind: b\n").startswith(
        "line 4: no valid YAML"
    )


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(RulesError, match=r"none.yaml: cannot be read \(No such file or directory\)"):
        read_rules(tmp_path / "none.yaml", task=Task.DETECTION, labels=LABELS)


def test_without_pyyaml_the_message_says_how_to_install_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "yaml", None)
    assert "reading rules needs PyYAML; install it with: pip install pyyaml" in file_problem(
        tmp_path, "units: fraction"
    )
