"""From a `_target_` mapping to the object it names.

Our own thirty lines instead of `hydra.utils.instantiate`: that one calls any function of any package, accepts `_args_`
and `_partial_`, hands OmegaConf containers to constructors, and changes in Hydra 1.4. Here a target is a trusted class,
and its arguments are keywords with plain values that fit the annotations.
"""

from __future__ import annotations

from typing import Any

from cvforge.config.problems import Problems, join
from cvforge.config.targets import TARGET, check_target, is_target, locate, parameters
from cvforge.config.typed import convert
from cvforge.errors import ConfigError


def instantiate(mapping: dict[str, Any], *, key: str, supplied: dict[str, Any] | None = None) -> Any:
    """Build the object that a mapping names, and before it every target nested in it.

    Args:
        mapping: plain values with `_target_`.
        key: where the mapping stands in the config, for messages.
        supplied: further arguments, given by code; one that the constructor does not take, or that the mapping sets
            itself, is left out.

    Raises:
        ConfigError: the target is not trusted, does not exist, or does not accept its arguments.
    """
    supplied = supplied or {}
    problems = Problems()
    check_target(mapping, key=key, supplied=tuple(supplied), problems=problems)
    problems.raise_any(key, origin=lambda _: None)
    cls = locate(mapping[TARGET])
    signature, hints = parameters(cls)
    arguments = {name: value for name, value in supplied.items() if name in signature}
    for name, value in mapping.items():
        if name != TARGET:
            arguments[name] = _built(value, hints.get(name, Any), join(key, name))
    try:
        return cls(**arguments)
    except ValueError as error:  # what constructors raise for an argument that they do not accept
        raise ConfigError(f"{key}: {mapping[TARGET]} does not accept its arguments: {error}") from error


def _built(value: Any, annotation: Any, key: str) -> Any:
    if is_target(value):
        return instantiate(value, key=key)
    if isinstance(value, list) and any(is_target(item) for item in value):
        return [_built(item, Any, f"{key}[{i}]") for i, item in enumerate(value)]
    if isinstance(value, dict) and any(is_target(item) for item in value.values()):
        return {name: _built(item, Any, join(key, name)) for name, item in value.items()}
    return convert(value, annotation, key=key, problems=Problems())
