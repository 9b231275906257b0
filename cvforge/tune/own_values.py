"""The values that a config has by itself: where a search begins, so that it says what it gained."""

from __future__ import annotations

from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from cvforge.config.compose import chosen_options, compose_config
from cvforge.tune.space import Choice, Parameter

_NONE = object()


def own_values(config: str, overrides: list[str], parameters: list[Parameter]) -> dict[str, Any] | None:
    """The config's value of each parameter as the search would draw it; None where one lies outside its range.

    Raises:
        ConfigError: the config cannot be composed.
    """
    composed = compose_config(config, overrides).tree
    options = chosen_options(config, overrides)
    values = {}
    for parameter in parameters:
        value = options.get(parameter.key, _value(composed, parameter.key))
        drawn = _as_drawn(parameter, value)
        if drawn is None:
            return None
        values[parameter.key] = drawn
    return values


def _value(tree: Any, key: str) -> Any:
    try:
        value = OmegaConf.select(tree, key, default=_NONE)
    except OmegaConfBaseException:
        return _NONE
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value


def _as_drawn(parameter: Parameter, value: Any) -> Any:
    if isinstance(parameter.values, Choice):
        texts = [text for text in parameter.values.texts if _parsed(parameter.key, text) == value]
        return texts[0] if texts else None
    numbers = parameter.values
    if type(value) not in (int, float) or not numbers.low <= value <= numbers.high:
        return None
    if numbers.points is not None and value not in numbers.points:
        return None
    return int(value) if numbers.whole else float(value)


def _parsed(key: str, text: str) -> Any:
    return OverridesParser.create().parse_overrides([f"{key}={text}"])[0].value()
