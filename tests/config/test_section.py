"""The export section without a config."""

from __future__ import annotations

import pytest

from cvforge.config.schema import ExportSection
from cvforge.config.section import export_section
from cvforge.errors import ConfigError


def test_changes_go_over_the_defaults() -> None:
    found = export_section(
        ["export.tensor_peak.fp16=0.3", "export.metric_budget={fp32:1}", "export.intended_use='a/b'"]
    )
    usual = ExportSection()
    assert found.tensor_peak == {**usual.tensor_peak, "fp16": 0.3}
    assert found.metric_budget == {**usual.metric_budget, "fp32": 1.0}
    assert (found.intended_use, found.tensor_tolerance) == ("a/b", usual.tensor_tolerance)
    assert export_section([]) == usual


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("data.root=x", "data.root=x: without a config only keys of export can be changed"),
        ("~export.batch", "without a config only keys of export"),
        ("export=tflite", "without a config only keys of export"),
        ("export.tensor_tolerence.fp32=1", "export.tensor_tolerence: unknown key; did you mean 'tensor_tolerance'?"),
        ("export.tensor_tolerance.fp32=-1", "export.tensor_tolerance.fp32: found -1, expected a number >= 0"),
        ("export.tensor_peak=[1]", "export.tensor_peak: found"),
        ("export.tensor_peak.fp32=a", "export.tensor_peak.fp32: found 'a' (text), expected a number"),
        ("export.golden_images.x=1", "export.golden_images: found"),
        ("export.golden_images=0", "export.golden_images: found 0, expected a whole number >= 1"),
        ("export.tensor_peak.fp32=", "export.tensor_peak.fp32"),
    ],
)
def test_a_change_that_does_not_fit_is_refused(change: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        export_section([change])
    assert words in str(caught.value)
    assert caught.value.exit_code == 2
