"""What the files of an export were held to: in the manifest, on the model card and on the report page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from cvforge.config.schema import ExportSection
from cvforge.export.plan import ExportPlan

JUDGED_BY = "judged_by"
"""Key of the provenance under which the limits go, by name and precision."""
LIMITS = ("metric_budget", "tensor_tolerance", "tensor_peak")
"""Keys of `ExportSection`, fields of `ExportPlan`."""
LIMITS_MEANING = (
    "noise is the root mean square error of an output over its spread (of boxes: over a tenth of their sides, weighted "
    "with their scores), the worst value a fraction of the output's range."
)
OVERRIDES = "overrides"
"""Key of the provenance: changes on the command line, in their order."""
_WITHHELD = "(not recorded)"
_PATH_SIGNS = ("/", "\\", "~")
_OWN_SECTION = "export."


def judged_by(plan: ExportPlan) -> dict[str, dict[str, float]]:
    """The limits of the precisions that were asked for: plain JSON for a manifest."""
    return {key: {name: float(getattr(plan, key)[name]) for name in plan.precisions} for key in LIMITS}


def limit_rows(plan: ExportPlan) -> list[tuple[str, ...]]:
    """A header, and a row for each precision."""
    header = ("precision", "score may lose", "raw outputs: noise at most", "worst value at most")
    return [header, *((name, *(f"{getattr(plan, key)[name]:g}" for key in LIMITS)) for name in plan.precisions)]


def loosened(plan: ExportPlan) -> list[str]:
    """A sentence for each limit that is looser than CVForge's own, or than the config of the run."""
    defaults = ExportSection()
    lines = []
    for key in LIMITS:
        for name in plan.precisions:
            value = getattr(plan, key)[name]
            usual = {"CVForge's default": getattr(defaults, key).get(name)}
            usual["the run's own config"] = plan.config_limits.get(key, {}).get(name)
            stricter = [f"{limit:g} ({whose})" for whose, limit in usual.items() if limit is not None and limit < value]
            if stricter:
                lines.append(
                    f"Judged more loosely than usual: `export.{key}.{name}` was {value:g} instead of "
                    f"{' and '.join(stricter)}."
                )
    return lines


def config_limits(section: ExportSection) -> dict[str, dict[str, float]]:
    """The limits that a config states, for `ExportPlan.config_limits`."""
    return {field.name: dict(getattr(section, field.name)) for field in fields(section) if field.name in LIMITS}


def recorded_overrides(overrides: Sequence[str]) -> list[str]:
    """Overrides as a bundle may say them, in their order: values that can be paths of this machine are withheld.

    >>> recorded_overrides(["export.metric_budget.fp16=0.9", "data.root=/home/ann/cells"])
    ['export.metric_budget.fp16=0.9', 'data.root=(not recorded)']
    """
    return [_recorded(text) for text in overrides]


def _recorded(text: str) -> str:
    key, equals, value = text.partition("=")
    if key.lstrip("+~").startswith(_OWN_SECTION) or not any(sign in value for sign in _PATH_SIGNS):
        return text
    return f"{key}{equals}{_WITHHELD}"


def changes_text(provenance: Mapping[str, Any]) -> str:
    """The changes of the command line in words."""
    return f"Changes on the command line: {', '.join(provenance.get(OVERRIDES, ())) or 'none'}."
