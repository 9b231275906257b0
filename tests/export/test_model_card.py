"""A model card says what a reader must know, for every task, from numbers small enough to check by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from cvforge.export.model_card import model_card
from cvforge.export.reference import ClassEvidence
from cvforge.export.score_tables import class_rows, difference_text, file_rows, score_text
from cvforge.export.verify import Reference, Verdict
from cvforge_edge.interval import ScoreInterval
from cvforge_edge.manifest import ModelFile
from cvforge_edge.stats.statistics import Statistics
from cvforge_edge.types import Detections, Task
from export.tiny import LABELS, tiny_plan

DETECTION_SCORES = {
    "map": 0.578,
    "map50": 0.889,
    "map_small": 0.2,
    "map_large": 0.7,
    "ap/red": 0.5,
    "ap/green": 0.0,
}


def evidence(*objects: int) -> ClassEvidence:
    counts = np.array(objects, np.int64)
    return ClassEvidence(images=np.minimum(counts, 12), objects=counts)


def reference(metrics: dict[str, float], **changes: Any) -> Reference:
    resamples = np.linspace(0.541, 0.612, 41)
    values: dict[str, Any] = {"resamples": resamples, "evidence": evidence(40, 3, 0), **changes}
    return Reference([], [], metrics, next(iter(metrics)), 1.0, **values)


def verdict(metrics: dict[str, float], **changes: Any) -> Verdict:
    model = ModelFile("model_fp32.onnx", "onnx", "fp32", "0" * 64, 2_500_000)
    found: dict[str, Any] = {
        "interval": ScoreInterval(0.5412, 0.6118, 0.95),
        "difference": ScoreInterval(-0.0004, 0.0031, 0.95),
        **changes,
    }
    return Verdict(model, {"scores": 2e-6}, metrics, **found)


def card(
    task: Task = Task.DETECTION, *, metrics: dict[str, float] | None = None, plan_changes: Any = None, **changes: Any
) -> str:
    scores = metrics or DETECTION_SCORES
    plan = tiny_plan(task, **(plan_changes or {}))
    verdicts = [verdict(scores)]
    manifest = replace(plan.manifest(), files=tuple(entry.model for entry in verdicts))
    return model_card(manifest, verdicts, reference=reference(scores, **changes), plan=plan)


def test_scores_are_shown_with_their_intervals() -> None:
    assert score_text(0.5784, ScoreInterval(0.5412, 0.6118, 0.95)) == "0.578 [0.541, 0.612]"
    assert score_text(0.5784, None) == "0.578"
    assert difference_text(-0.001, None) == "-0.0010"
    assert difference_text(-1e-9, ScoreInterval(-1e-7, 0.0, 0.95)) == "+0.0000 [+0.0000, +0.0000]"
    rows = file_rows([verdict({"map": 0.579})], reference({"map": 0.578}))
    assert rows[1] == ("model_fp32.onnx", "0.579 [0.541, 0.612]", "+0.0010 [-0.0004, +0.0031]", "2.50", "2.0e-06")
    assert "| model_fp32.onnx | 0.578 [0.541, 0.612] | +0.0000 [-0.0004, +0.0031] | 2.50 | 2.0e-06 |" in card()


def test_the_intended_use_is_the_makers_or_an_honest_default() -> None:
    stated = card(plan_changes={"intended_use": "Counting cells in one lab.\n"})
    assert "## Intended use\n\nCounting cells in one lab.\n\n## Scores" in stated
    plan_changes = {"provenance": {"config": "det_bccd"}}
    default = card(plan_changes=plan_changes)
    assert "Its makers have not stated one (`export.intended_use` in the config)" in default
    assert "detection of red, green, blue by the config `det_bccd`" in default


def test_each_class_has_its_score_and_what_it_rests_on() -> None:
    text = card()
    assert "| class | ap | objects | pictures |" in text
    assert "| red | 0.500 | 40 | 12 |" in text
    assert "| green | 0.000 | 3 | 3 |" in text
    assert "| blue | not measured | 0 | 0 |" in text


def test_classification_shows_the_recall_of_each_class() -> None:
    metrics = {"top1": 0.75, "recall/red": 0.875, "recall/green": 0.5}
    text = card(Task.CLASSIFICATION, metrics=metrics, evidence=evidence(8, 4, 0), resamples=None)
    assert "| class | recall | pictures |" in text
    assert "| red | 0.875 | 8 |" in text
    assert "| green | 0.500 | 4 |" in text
    assert "| blue | not measured | 0 |" in text
    assert "no confidence interval" in text


def test_segmentation_shows_the_iou_of_each_class() -> None:
    text = card(Task.SEGMENTATION, metrics={"miou": 0.6, "iou/red": 0.8, "iou/green": 0.4})
    assert "| class | iou | pictures |" in text
    assert "| red | 0.800 | 12 |" in text


def test_limits_name_what_was_not_measured_and_what_rests_on_little() -> None:
    text = card()
    assert "Many objects under 32 x 32 pixels (0.200) are missed or badly placed" in text
    assert "`map` of those over 96 x 96 pixels is 0.700" in text
    assert "No object of 32 x 32 to 96 x 96 pixels was scored: not measured." in text
    assert "Not in the scored pictures, so not measured: blue." in text
    assert "Fewer than 20 objects were scored, so their scores say little: green (3)." in text
    assert "Never found rightly: green." in text
    assert "speed and memory on your device" in text
    assert "had other pictures of the same kind been chosen (bootstrap over pictures)" in text
    assert "objects below score 0.3 are not reported" in text


def test_even_sizes_and_well_known_classes_are_not_warned_of() -> None:
    metrics = {"map": 0.5, "map_small": 0.4, "map_medium": 0.5, "map_large": 0.6, "ap/red": 0.5}
    text = card(metrics=metrics, evidence=evidence(40, 30, 20))
    for words in ("Many objects", "Fewer than", "Not in the scored", "Never found", "was scored: not measured"):
        assert words not in text


def test_the_card_says_which_data_how_many_pictures_how_to_run_and_what_made_it() -> None:
    statistics = Statistics(Task.DETECTION, LABELS)
    for _ in range(2):
        statistics.add(np.zeros((4, 4, 3), np.uint8), Detections.empty())
    provenance = {"data_fingerprints": {"train": "v1:aa", "val": "v1:bb"}, "packages": {"torch": "2.12.0"}, "git": None}
    text = card(plan_changes={"provenance": provenance}, statistics=statistics)
    assert "- train: v1:aa\n- val: v1:bb\n- scored on `val`: tiny-data" in text
    assert "`map` on split `val`, 2 pictures" in text
    assert "python run_camera.py --bundle tiny-detection --self-test" in text
    assert "python tools/evaluate.py bundles/tiny-detection --run runs/tiny-run" in text
    assert text.endswith("- run: tiny-run\n- packages: torch 2.12.0\n")


def test_many_classes_are_cut_to_those_that_do_worst_and_a_bar_in_a_name_ends_no_cell() -> None:
    labels = tuple(f"class {k}" for k in range(150))
    scores = {f"ap/class {k}": k / 150 for k in range(0, 150, 2)}
    counts = np.ones(150, np.int64)
    known = reference({"map": 0.5, **scores}, evidence=ClassEvidence(counts, counts))
    rows = class_rows(Task.DETECTION, labels, known)
    assert len(rows) == 101
    assert [row[0] for row in rows[1:4]] == ["class 0", "class 2", "class 4"]
    assert rows[76][:2] == ("class 1", "not measured")
    odd = tiny_plan(Task.DETECTION, labels=("a|b", "c", "d"))
    text = model_card(odd.manifest(), [], reference=reference({"map": 0.5, "ap/a|b": 0.25}), plan=odd)
    assert "| a\\|b | 0.250 | 40 | 12 |" in text


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_lower_precisions_are_explained(precision: str) -> None:
    plan = tiny_plan(Task.DETECTION)
    model = ModelFile(f"model_{precision}.onnx", "onnx", precision, "0" * 64, 1)
    text = model_card(replace(plan.manifest(), files=(model,)), [], reference=reference(DETECTION_SCORES), plan=plan)
    assert f"- {precision} files " in text
