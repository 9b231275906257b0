"""What differs between two configs, key by key."""

from __future__ import annotations

from typing import Any

from cvforge.config.flat import flattened
from cvforge.environment import without_secrets

PLACES = ("run.dir", "data.root", "data.hint")
"""Keys that say where things lie, not what is done."""
ABSENT = "(absent)"


def config_differences(*configs: dict[str, Any]) -> dict[str, tuple[str, ...]]:
    """Key -> its value in each config, for every key whose values are not all equal; places on this machine are left out.

    Args:
        configs: resolved, as plain mappings: `dataclasses.asdict(config)`, or the `config.yaml` of a run of any version.
    """
    flats = [flattened(config) for config in configs]
    keys = sorted({key for flat in flats for key in flat} - set(PLACES))
    shown = {key: tuple(_text(flat[key]) if key in flat else ABSENT for flat in flats) for key in keys}
    return {key: texts for key, texts in shown.items() if len(set(texts)) > 1}


def _text(value: Any) -> str:
    """As in YAML; what would log in somewhere is masked, since differences are shown to others."""
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else without_secrets(str(value))
