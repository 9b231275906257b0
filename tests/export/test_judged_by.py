"""What a bundle says about the limits that its files were held to."""

from __future__ import annotations

from pathlib import Path

from cvforge.config.schema import ExportSection
from cvforge.export.beside import write_beside
from cvforge.export.judged_by import config_limits, judged_by, limit_rows, loosened, recorded_overrides
from cvforge_edge.types import Task
from export.tiny import export_tiny, quiet_stages, tiny_plan

USUAL = ExportSection()
FP16 = {"fp32": 0.001, "fp16": 0.9}


def test_limits_of_the_precisions_that_were_asked_for_are_recorded() -> None:
    plan = tiny_plan(Task.DETECTION, precisions=("fp16",), metric_budget={"fp32": 1, "fp16": 0.5, "int8": 1})
    assert judged_by(plan) == {
        "metric_budget": {"fp16": 0.5},
        "tensor_tolerance": {"fp16": 0.02},
        "tensor_peak": {"fp16": USUAL.tensor_peak["fp16"]},
    }
    assert limit_rows(plan)[1] == ("fp16", "0.5", "0.02", "0.1")


def test_a_limit_looser_than_the_default_or_the_runs_config_is_pointed_out_and_a_stricter_one_is_not() -> None:
    strict = {
        key: dict.fromkeys(("fp32", "fp16"), 1e-6) for key in ("metric_budget", "tensor_tolerance", "tensor_peak")
    }
    assert loosened(tiny_plan(Task.DETECTION, **strict)) == []
    plan = tiny_plan(Task.DETECTION, metric_budget=FP16, config_limits={"metric_budget": {"fp16": 0.005}})
    assert loosened(plan) == [
        "Judged more loosely than usual: `export.metric_budget.fp16` was 0.9 instead of 0.002 (CVForge's default) and "
        "0.005 (the run's own config)."
    ]
    plan = tiny_plan(Task.DETECTION, **{**strict, "config_limits": {"tensor_peak": {"fp32": 1e-9}}})
    assert loosened(plan) == [
        "Judged more loosely than usual: `export.tensor_peak.fp32` was 1e-06 instead of 1e-09 (the run's own config)."
    ]


def test_the_limits_of_a_config_are_those_of_its_section() -> None:
    assert config_limits(USUAL) == {
        "metric_budget": USUAL.metric_budget,
        "tensor_tolerance": USUAL.tensor_tolerance,
        "tensor_peak": USUAL.tensor_peak,
    }


def test_overrides_are_kept_in_order_without_paths_of_the_machine() -> None:
    given = ["data.root=/home/ann", "export.metric_budget.fp16=0.9", "data.val.root=~/x", "++data.cache=none"]
    given += ["evaluation.score_threshold=0.1", r"data.root=C:\cells", "export.intended_use=cells/hour"]
    assert recorded_overrides(given) == [
        "data.root=(not recorded)",
        "export.metric_budget.fp16=0.9",
        "data.val.root=(not recorded)",
        "++data.cache=none",
        "evaluation.score_threshold=0.1",
        "data.root=(not recorded)",
        "export.intended_use=cells/hour",
    ]


def test_manifest_card_and_page_say_what_a_bundle_was_judged_by(tmp_path: Path) -> None:
    changes = ["export.metric_budget.fp16=0.9", "data.root=(not recorded)"]
    plan = tiny_plan(Task.DETECTION, metric_budget=FP16, provenance={"overrides": changes, "checkpoint_sha256": "ab12"})
    report = export_tiny(Task.DETECTION, tmp_path / "b", plan=plan)
    provenance = report.manifest.provenance
    assert provenance["judged_by"]["metric_budget"] == FP16
    assert provenance["overrides"] == changes
    assert provenance["output_noise"].keys() == {"model_fp32.onnx", "model_fp16.onnx"}
    card = (tmp_path / "b" / "model_card.md").read_text()
    page = write_beside(report, measure=False, stages=quiet_stages).report.read_text()
    assert "| fp16 | 0.9 | 0.02 | 0.1 |" in card
    assert "checkpoint_sha256: ab12" in card
    assert "<td>0.9</td>" in page
    for text in (card.replace("`", ""), page.replace("&#x27;", "'")):
        assert "Judged by" in text
        assert "Judged more loosely than usual: export.metric_budget.fp16 was 0.9 instead of 0.002" in text
        assert "Changes on the command line: export.metric_budget.fp16=0.9, data.root=(not recorded)." in text
