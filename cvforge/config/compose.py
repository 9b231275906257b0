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
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, MissingConfigException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from cvforge.config.catalog import CONFIGS, SUFFIX, options, runnable_configs, shown
from cvforge.config.overrides import is_group, parse_overrides, useful_line
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
                return str(name)
        return None

    @cached_property
    def _sources(self) -> list[tuple[str, dict[str, Any]]]:
        """(origin, values) in the order in which they were merged; as slow as composing, so only for messages."""
        with _hydra(self.path):
            defaults = _defaults_list(self.path, list(self.overrides)).defaults
        named = [(default.package or "", _file_of(default.config_path, self.path.parent)) for default in defaults]
        sources = [(shown(file), _placed(file, package)) for package, file in named if file is not None]
        return [*sources, (_COMMAND_LINE, self.set_values)]


def find_config(config: str) -> Path:
    """The file behind `--config`: a name in `configs/`, with or without .yaml, or a path to a YAML file anywhere.

    Raises:
        ConfigError: there is no such file.
    """
    named = CONFIGS / config if config.endswith(SUFFIX) else CONFIGS / f"{config}{SUFFIX}"
    given = Path(config).expanduser()
    if Path(config).name == config and named.is_file():
        return named
    if given.is_file() and given.suffix == SUFFIX:
        return given.resolve()
    if given.is_file():
        raise ConfigError(f"--config {config}: a config file ends with {SUFFIX}; rename it")
    close = suggestion(given.name.removesuffix(SUFFIX), runnable_configs())
    raise ConfigError(f"--config {config}: no such config{close}, or a path to a YAML file")


def compose_config(config: str, overrides: list[str]) -> Composed:
    """Compose a config with its defaults list and the overrides of the command line.

    Args:
        config: see `find_config`; groups are looked up beside the file and in `configs/`.
        overrides: Hydra's grammar: `trainer.max_epochs=5`, `model=ssdlite`, `~augment`.

    Raises:
        ConfigError: the file, an override, or a group's option does not exist or cannot be parsed.
    """
    path = find_config(config)
    parsed = parse_overrides(overrides, path.parent)
    _check_top_level(path)
    try:
        with _hydra(path):
            texts, emptied = _texts(path, parsed)
            tree = compose(path.stem, overrides=texts)
    except MissingConfigException as error:
        raise ConfigError(_missing_text(path, error)) from error
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(f"{shown(path)}: {useful_line(error)}") from error
    except yaml.YAMLError as error:
        raise ConfigError(_yaml_text(error, path)) from error
    for group in emptied:
        if group in tree:
            OmegaConf.update(tree, group, None)
    set_values = [o for o in parsed if not o.is_delete() and not is_group(o, path.parent)]
    flat = {o.key_or_group: o.value() for o in set_values} | dict.fromkeys(emptied)
    return Composed(tree, path, tuple(texts), _nested(flat))


def chosen_options(config: str, overrides: list[str]) -> dict[str, str | None]:
    """Group -> the option that the defaults list and the overrides choose.

    Raises:
        ConfigError: there is no such config, or an override cannot be parsed.
    """
    path = find_config(config)
    with _hydra(path):
        texts, _ = _texts(path, parse_overrides(overrides, path.parent))
        return dict(_defaults_list(path, texts).overrides.known_choices)


def _hydra(path: Path) -> initialize_config_dir:
    return initialize_config_dir(str(path.parent), version_base="1.3")


def _defaults_list(path: Path, overrides: list[str]) -> Any:
    return GlobalHydra.instance().config_loader().compute_defaults_list(path.stem, overrides, RunMode.RUN)


def _texts(path: Path, parsed: list[Override]) -> tuple[list[str], list[str]]:
    """The overrides in a form that may set any key (whether it exists is for `check.py` to say), and emptied groups.

    Hydra knows no `loss=null` for a group: its option is taken out of the defaults list, or its values are dropped.
    """
    texts, emptied = [f"hydra.searchpath=['file://{_quoted(CONFIGS)}']"], []
    for override in parsed:
        text = str(override.input_line)
        if override.is_delete():
            texts.append(text)
        elif not is_group(override, path.parent):
            texts.append("++" + text.lstrip("+"))
        elif override.value() is None:
            emptied.append(str(override.key_or_group))
        else:
            texts.append(text)
    chosen = _defaults_list(path, texts[:1]).overrides.known_choices if emptied else {}
    texts += [f"~{group}" for group in emptied if chosen.get(group)]
    return texts, emptied


def _check_top_level(path: Path) -> None:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(_yaml_text(error, path)) from error
    if not isinstance(values, dict | None):
        raise ConfigError(f"{shown(path)}: found {found(values)} at the top, expected keys with values, like run: ...")


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
    group, _, option = (error.missing_cfg_file or "").rpartition("/")
    if group:
        return f"{shown(path)}: {group}={option}: no such option{suggestion(option, error.options or options(group))}"
    return f"{shown(path)}: {useful_line(error)}"


def _yaml_text(error: yaml.YAMLError | UnicodeDecodeError, path: Path) -> str:
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return f"{shown(path)}: not YAML: {error}"
    mark = error.problem_mark
    name = shown(path) if mark.name.startswith("<") else mark.name
    return f"{name}, line {mark.line + 1}: not YAML: {error.problem}"


def _quoted(path: Path) -> str:
    return str(path).replace("\\", "\\\\").replace("'", "\\'")
