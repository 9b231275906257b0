"""From a config name and `key=value` overrides to one composed, still unresolved mapping, by Hydra's compose API.

Hydra's half of the work is the defaults list and the grammar of overrides. Which keys exist is not left to it: every
override may set any key here, and `check.py` then reports the ones that nobody knows, all at once.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml
from hydra import compose, initialize_config_dir
from hydra._internal.defaults_list import DefaultsList
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import GrammarParseError, OmegaConfBaseException

from cvforge.config.catalog import CONFIGS, SUFFIX, options, runnable_configs, shown
from cvforge.config.problems import suggestion
from cvforge.config.typed import found
from cvforge.errors import ConfigError

_GLOBAL_PACKAGES = ("", "_global_")
_COMMAND_LINE = "command line"


_ABSENT = object()


@dataclass(frozen=True)
class Composed:
    """What Hydra made of a config file and the command line.

    Attributes:
        tree: composed values; interpolations and `???` are still in it.
        path: the config file.
        overrides: as they were given to Hydra.
        set_values: what the command line sets, as a tree.
    """

    tree: DictConfig
    path: Path
    overrides: tuple[str, ...]
    set_values: dict[str, Any]

    def origin(self, key: str) -> str | None:
        """The file that set a key, or `command line`; None for a default of the schema."""
        parts = [part for part in re.split(r"[.\[\]]+", key) if part]
        for name, values in reversed(self._sources):
            node: Any = values
            for part in parts:
                node = _item(node, part)
            if node is not _ABSENT:
                return name
        return None

    @cached_property
    def _placed(file: Path, package: str) -> dict[str, Any]:
    values = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    return values if package in _GLOBAL_PACKAGES else _nested({package: values})


def _file_of(config_path: str | None, folder: Path) -> Path | None:
    files = [base / f"{config_path}{SUFFIX}" for base in (folder, CONFIGS)]
    return next((file for file in files if config_path and file.is_file()), None)


def _nested(flat: dict[str, Any]) -> dict[str, Any]:
    """{'a.b': 1} as {'a': {'b': 1}}."""
    tree = OmegaConf.create()
    for key, value in flat.items():
        OmegaConf.update(tree, key, value, force_add=True)
    return OmegaConf.to_container(tree)  # type: ignore[return-value]


def _item(node: Any, part: str) -> Any:
    if isinstance(node, dict):
        return node.get(part, _ABSENT)
    inside = isinstance(node, list) and part.isdigit() and int(part) < len(node)
    return node[int(part)] if inside else _ABSENT


def _missing_text(path: Path, error: MissingConfigException) -> str:
    missing = error.missing_cfg_file or ""
    group, _, option = missing.rpartition("/")
    if group:
        return f"{shown(path)}: {group}={option}: no such option{suggestion(option, error.options or options(group))}"
    return f"{shown(path)}: {_useful_line(error)}"


def _useful_line(error: BaseException) -> str:
    """The line of a message that says what is wrong: Hydra puts headings above it, and hides it in `__cause__`."""
    text = str(error) or str(error.__cause__ or "")
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.rstrip().endswith("config:")]
    line = lines[0] if lines else type(error).__name__
    malformed = isinstance(error, GrammarParseError) or isinstance(error.__cause__, GrammarParseError)
    return f"an interpolation like ${{key}} is malformed: {line}" if malformed else line


def _yaml_text(error: yaml.YAMLError | UnicodeDecodeError, path: Path) -> str:
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return f"{shown(path)}: not YAML: {error}"
    mark = error.problem_mark
    return f"{shown(path) if mark.name.startswith('<') else mark.name}, line {mark.line + 1}: not YAML: {error.problem}"


def _quoted(path: Path) -> str:
    return str(path).replace("\\", "\\\\").replace("'", "\\'")
