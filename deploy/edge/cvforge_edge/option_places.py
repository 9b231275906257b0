"""Refuses options that name one file or folder twice: two results in one place, or a result in place of what is read."""

from __future__ import annotations

import argparse
from pathlib import Path

from cvforge_edge.errors import UsageError
from cvforge_edge.sinks.line_file import STANDARD_OUTPUT
from cvforge_edge.source_options import split_name

WRITTEN = ("json", "csv", "save", "log", "queue", "evidence", "accepted")
READ = ("rules", "web_token", "mqtt_ca", "webhook_ca", "bundle", "trust")
MAY_BE_STANDARD_OUTPUT = ("json", "csv")


def check_places(options: argparse.Namespace) -> None:
    """Refuse places that are named twice; devices such as /dev/null may be.

    Args:
        options: of run_camera.py, before any file is opened.

    Raises:
        UsageError: two options share a place.
    """
    names: dict[Path | str, str] = {}
    for name in READ:
        place = _place(options, name)
        if place is not None:
            names.setdefault(place, _option(name))
    sources = {path.resolve() for text in options.source or () if (path := Path(split_name(text)[1])).is_file()}
    for name in WRITTEN:
        place = _place(options, name)
        if place is None:
            continue
        shown = f"{_option(name)} {getattr(options, name)}"
        if place in sources:
            raise UsageError(f"{shown}: would replace the source; write to another place")
        if place in names:
            raise UsageError(f"{shown}: is also the place of {names[place]}; give each its own")
        names[place] = _option(name)


def _place(options: argparse.Namespace, name: str) -> Path | str | None:
    value = getattr(options, name)
    if value is None:
        return None
    if value == STANDARD_OUTPUT and name in MAY_BE_STANDARD_OUTPUT:
        return STANDARD_OUTPUT
    path = Path(value).resolve()
    is_device = path.exists() and not path.is_file() and not path.is_dir()
    return None if is_device else path


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"
