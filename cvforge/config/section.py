"""The export section where there is no config: CVForge's defaults, changed on the command line."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from cvforge.config.catalog import CONFIGS
from cvforge.config.check import check_export_section
from cvforge.config.overrides import parse_overrides
from cvforge.config.problems import Problems
from cvforge.config.schema import ExportSection
from cvforge.errors import ConfigError

PREFIX = "export."


def export_section(overrides: Sequence[str]) -> ExportSection:
    """The section with changes such as `export.tensor_tolerance.fp16=0.05`.

    Raises:
        ConfigError: a key is none of this section, or a value does not fit; the message lists every problem.
    """
    foreign = [text for text in overrides if not text.lstrip("+").startswith(PREFIX)]
    if foreign:
        raise ConfigError(
            f"{', '.join(foreign)}: without a config only keys of export can be changed, for instance "
            "export.tensor_tolerance.fp16=0.05; data.* and others need --config"
        )
    tree: dict[str, Any] = {"export": dataclasses.asdict(ExportSection())}
    for override in parse_overrides(list(overrides), CONFIGS):
        _set(tree, str(override.key_or_group).split("."), override.value())
    problems = Problems()
    section = check_export_section(tree, problems)
    problems.raise_any("command line", origin=lambda _key: None)
    return section


def _set(tree: dict[str, Any], path: list[str], value: Any) -> None:
    """Set one key; a mapping is joined with what is there, as Hydra does it."""
    *parents, key = path
    for parent in parents:
        if not isinstance(tree.get(parent), dict):
            tree[parent] = {}
        tree = tree[parent]
    old = tree.get(key)
    tree[key] = {**old, **value} if isinstance(old, dict) and isinstance(value, dict) else value
