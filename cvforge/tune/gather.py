"""The search space of a command line: its file, its own ranges, and what is left of it as plain overrides."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import OverrideParseException

from cvforge.config.catalog import CONFIGS, SUFFIX, options, shown
from cvforge.config.problems import Problems, suggestion
from cvforge.config.typed import found
from cvforge.errors import ConfigError
from cvforge.tune.space import SYNTAX, Parameter, SpaceError, parse_parameter

SPACES = "space"
CALL = re.compile(r"\w+\(.*\)$", re.DOTALL)


@dataclass(frozen=True)
class Gathered:
    """What a command line asks for.

    Attributes:
        overrides: those that set one value for all trials.
        parameters: the search space, the file's keys first.
        set_aside: keys of the file that the command line sets to one value.
    """

    overrides: list[str]
    parameters: list[Parameter]
    set_aside: list[str]


def gather_space(words: list[str], space: str | None) -> Gathered:
    """Sort the words of a command line into values and ranges, and read the file of ranges.

    Args:
        words: `key=value` and `key=RANGE`; a word wins over the file.
        space: a name in `configs/space/`, a path to a YAML file, or None.

    Raises:
        ConfigError: the file or a range cannot be used, or there is no range at all; the message lists all problems.
    """
    plain = [word for word in words if not _is_range(word)]
    ranges = dict(_split(word) for word in words if _is_range(word))
    set_keys = {_split(word)[0] for word in plain}
    problems, parameters = Problems(), []
    of_file = read_space(find_space(space), problems) if space is not None else {}
    written = {key: text for key, text in of_file.items() if key not in set_keys} | ranges
    for key, text in written.items():
        try:
            parameters.append(parse_parameter(key, text))
        except SpaceError as error:
            problems.add(key, str(error))
    for key in sorted(set_keys & set(ranges)):
        problems.add(key, "has a value and a range on the command line; leave one out")
    file_name = shown(find_space(space)) if space is not None else "command line"
    problems.raise_any("search space", origin=lambda key: file_name if key not in ranges else "command line")
    if not parameters:
        raise ConfigError(f"nothing to search: give --space FILE, or a range for a key, like optim.lr='{SYNTAX}'")
    return Gathered(plain, parameters, sorted(set(of_file) & set_keys))


def find_space(space: str) -> Path:
    """The file behind `--space`.

    Raises:
        ConfigError: there is none.
    """
    named = CONFIGS / SPACES / (space if space.endswith(SUFFIX) else f"{space}{SUFFIX}")
    given = Path(space).expanduser()
    if Path(space).name == space and named.is_file():
        return named
    if given.is_file():
        return given.resolve()
    close = suggestion(given.name.removesuffix(SUFFIX), options(SPACES))
    raise ConfigError(f"--space {space}: no such file{close}, or a path to a YAML file")


def read_space(path: Path, problems: Problems) -> dict[str, str]:
    """Key -> range of a file; what is no range is reported.

    Raises:
        ConfigError: the file is not YAML or no mapping.
    """
    try:
        values: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{shown(path)}: not YAML: {error}") from error
    if not isinstance(values, dict) or not values:
        raise ConfigError(f"{shown(path)}: found {found(values)}, expected keys with ranges, like optim.lr: {SYNTAX}")
    for key, value in values.items():
        if isinstance(value, dict):
            problems.add(str(key), f"found a mapping; write whole keys, like {key}.{next(iter(value), 'name')}: RANGE")
        elif not isinstance(value, str):
            problems.add(str(key), f"found {found(value)}, expected a range: {SYNTAX}")
    return {str(key): value for key, value in values.items() if isinstance(value, str)}


def _is_range(word: str) -> bool:
    """Whether a word has several values, or was meant to: an unknown function is no text."""
    try:
        return bool(OverridesParser.create().parse_overrides([word])[0].is_sweep_override())
    except OverrideParseException:
        return bool(CALL.match(_split(word)[1].strip()))


def _split(word: str) -> tuple[str, str]:
    key, _, value = word.partition("=")
    return key.strip().lstrip("+"), value
