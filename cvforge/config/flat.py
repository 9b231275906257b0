"""A config as one table of dotted keys."""

from __future__ import annotations

from typing import Any


def flattened(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, with dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        flat.update(flattened(value, f"{name}.") if isinstance(value, dict) else {name: value})
    return flat
