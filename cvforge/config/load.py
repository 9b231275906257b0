"""One door from YAML to a checked `Config`: compose, resolve, check everything, and only then hand it on."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import InterpolationResolutionError, InterpolationToMissingValueError, OmegaConfBaseException

from cvforge.config.check import GENERIC_HINT, check
from cvforge.config.compose import compose_config
from cvforge.config.problems import Problems, join, suggestion
from cvforge.config.schema import Config
from cvforge.config.typed import UNKNOWN
from cvforge.errors import ConfigError


def load(config: str, overrides: list[str], *, require_data: bool = True) -> Config:
    """The checked config of one experiment.

    Args:
        config: a name in `configs/`, or a path to a YAML file.
        overrides: `key=value` in Hydra's grammar.
        require_data: whether `data.root` must exist; evaluation and export of a bundle may run without it.

    Returns:
        The config; every `_target_` in it can be imported and its keys fit.

    Raises:
        ConfigError: anything is wrong; the message lists every problem, its key, and where the key was set.
    """
    composed = compose_config(config, overrides)
    problems = Problems()
    raw = _resolved(_with_defaults(composed.tree), problems)
    checked = check(raw, problems, require_data=require_data)
    problems.raise_any(composed.path.name, origin=composed.origin)
    return checked


def load_resolved(path: Path, overrides: list[str] | None = None, *, require_data: bool = False) -> Config:
    """The config of a run, from the `config.yaml` in its folder, with overrides such as `trainer.max_epochs=20`.

    Interpolations were resolved when the run started: an override changes its own key and nothing that once referred
    to it.

    Raises:
        ConfigError: the file is missing or no longer fits this version's schema.
    """
    if not path.is_file():
        raise ConfigError(f"{path}: no such file; a run folder holds its config.yaml")
    return load(str(path.resolve()), overrides or [], require_data=require_data)


def resolved_yaml(config: Config) -> str:
    """The config as YAML that `load_resolved` reads back to an equal one."""
    return OmegaConf.to_yaml(OmegaConf.create(dataclasses.asdict(config)))


def composed_yaml(config: str, overrides: list[str]) -> str:
    """The composed config with the schema's defaults, unchecked: `???` and interpolations still stand in it.

    Raises:
        ConfigError: it cannot be composed.
    """
    return OmegaConf.to_yaml(_with_defaults(compose_config(config, overrides).tree))


def _with_defaults(tree: DictConfig) -> DictConfig:
    """The composed values over the schema's defaults, with `data.root` absolute."""
    merged = OmegaConf.merge(OmegaConf.create(dataclasses.asdict(Config())), tree)
    assert isinstance(merged, DictConfig)
    root = OmegaConf.select(merged, "data.root", throw_on_missing=False, throw_on_resolution_failure=False)
    if isinstance(root, str) and root:
        OmegaConf.update(merged, "data.root", str(Path(root).expanduser().resolve()))
    return merged


def _resolved(node: DictConfig | ListConfig, problems: Problems, prefix: str = "") -> Any:
    """Plain values; what is missing or cannot be resolved is reported and becomes UNKNOWN."""
    if isinstance(node, ListConfig):
        return [_value(node, i, f"{prefix}[{i}]", problems) for i in range(len(node))]
    return {key: _value(node, key, join(prefix, key), problems) for key in node}


def _value(node: Any, key: Any, path: str, problems: Problems) -> Any:
    if OmegaConf.is_missing(node, key):
        problems.add(path, _missing_text(path, node))
        return UNKNOWN
    try:
        value = node[key]
    except InterpolationToMissingValueError:  # what it points to is reported itself
        return UNKNOWN
    except (InterpolationResolutionError, OmegaConfBaseException) as error:
        problems.add(path, _interpolation_text(node, key, error))
        return UNKNOWN
    return _resolved(value, problems, path) if isinstance(value, DictConfig | ListConfig) else value


def _missing_text(path: str, node: Any) -> str:
    if path != "data.root":
        return f"missing: give {path}=VALUE"
    hint = OmegaConf.select(node._get_root(), "data.hint", throw_on_resolution_failure=False)
    return f"missing: {hint or GENERIC_HINT}"


def _interpolation_text(node: Any, key: Any, error: Exception) -> str:
    raw = OmegaConf.to_container(node, resolve=False)
    expression = str(raw[key])  # type: ignore[index, call-overload]
    reason = str(error).splitlines()[0].removeprefix("KeyError raised while resolving interpolation: ")
    if "Interpolation key" not in reason:
        return f"{expression}: {reason}"
    root: Any = OmegaConf.to_container(node._get_root(), resolve=False)
    wanted = expression.strip().removeprefix("${").removesuffix("}")
    return f"{expression} points to a key that does not exist{suggestion(wanted, _paths(root))}"


def _paths(tree: dict[Any, Any], prefix: str = "") -> list[str]:
    paths = []
    for key, value in tree.items():
        path = join(prefix, key)
        paths.append(path)
        if isinstance(value, dict):
            paths.extend(_paths(value, path))
    return paths
