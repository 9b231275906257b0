"""Refuses options that name one file or folder twice: two results in one place, or a result in place of what is read."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

from cvforge_edge.errors import UsageError
from cvforge_edge.sinks.line_file import STANDARD_OUTPUT
from cvforge_edge.sinks.rotation import DEFAULT_KEEP, numbered_before_suffix, numbered_last
from cvforge_edge.source_options import split_name

WRITTEN = ("json", "csv", "save", "log", "queue", "evidence", "accepted")
READ = ("rules", "web_token", "mqtt_ca", "webhook", "webhook_ca", "bundle", "trust")
MAY_BE_STANDARD_OUTPUT = ("json", "csv")


def check_places(options: argparse.Namespace) -> None:
    """Refuse places that are named twice, also by what is set aside; devices such as /dev/null may be.

    Args:
        options: of run_camera.py, before any file is opened.

    Raises:
        UsageError: two options share a place, or something would be written into the bundle.
    """
    names: dict[Path | str, str] = {}
    for name in READ:
        place = _place(options, name)
        if place is not None:
            names.setdefault(place, _option(name))
    bundle = _place(options, "bundle")
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
        if isinstance(place, Path) and bundle in place.parents:
            raise UsageError(f"{shown}: lies in the bundle, which holds only what its maker put there; write elsewhere")
        names[place] = _option(name)
        for aside in _set_aside(options, name, place):
            if aside in sources or aside in names:
                other = names.get(aside, "the source")
                raise UsageError(f"{shown}: is set aside as {aside.name}, the place of {other}; give each its own")
            names[aside] = f"what {_option(name)} sets aside"


def _place(options: argparse.Namespace, name: str) -> Path | str | None:
    value = getattr(options, name)
    if name == "webhook":  # an address, or @ and the file that holds it
        value = value[1:] if value is not None and value.startswith("@") else None
    if value is None:
        return None
    if value == STANDARD_OUTPUT and name in MAY_BE_STANDARD_OUTPUT:
        return STANDARD_OUTPUT
    path = Path(value).resolve()
    is_device = path.exists() and not path.is_file() and not path.is_dir()
    return None if is_device else path


def _set_aside(options: argparse.Namespace, name: str, place: Path | str) -> Iterable[Path]:
    """Where a file goes when it gets too large."""
    if not isinstance(place, Path):
        return []
    if name == "log":
        from cvforge_edge.log_file import OLD_FILES

        return [numbered_last(place, number) for number in range(1, OLD_FILES + 1)]
    if options.rotate is None or name not in ("json", "csv", "save"):
        return []
    numbered = numbered_before_suffix if name == "save" else numbered_last
    return [numbered(place, number) for number in range(1, (options.rotate_keep or DEFAULT_KEEP) + 1)]


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"
