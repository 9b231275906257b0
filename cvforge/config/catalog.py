"""Which configs there are, and what each says about itself; read without composing anything."""

from __future__ import annotations

from pathlib import Path

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
SUFFIX = ".yaml"


def runnable_configs() -> dict[str, str]:
    """Name -> first header line of every runnable config, in order of name."""
    return {path.stem: header(path) for path in sorted(CONFIGS.glob(f"*{SUFFIX}"))}


def header(path: Path) -> str:
    """What a config is: its first line, without the comment sign; empty when that is no comment."""
    with path.open(encoding="utf-8") as file:
        first = file.readline()
    return first.removeprefix("#").strip() if first.startswith("#") else ""


def options(group: str) -> list[str]:
    """Names of the options of a group such as `model`."""
    return sorted(path.stem for path in (CONFIGS / group).glob(f"*{SUFFIX}"))


def shown(path: Path) -> str:
    """A config file's path as a reader of a message knows it."""
    return f"configs/{path.relative_to(CONFIGS)}" if path.is_relative_to(CONFIGS) else str(path)
