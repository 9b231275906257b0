"""What the words after `--config` mean: values of keys, or options of groups."""

from __future__ import annotations

from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import OverrideParseException
from omegaconf.errors import GrammarParseError

from cvforge.config.catalog import CONFIGS, SUFFIX, options
from cvforge.config.problems import suggestion
from cvforge.errors import ConfigError


def parse_overrides(overrides: list[str], folder: Path) -> list[Override]:
    """The overrides in Hydra's grammar.

    Args:
        overrides: `key=value`, `group=option`, `~key`.
        folder: where the config lies; it may hold groups of its own.

    Raises:
        ConfigError: some cannot be parsed or name an option that does not exist; all of them are listed.
    """
    parsed, problems = [], []
    for text in overrides:
        try:
            override = _parse(text)
        except OverrideParseException as error:
            problems.append(f"  {text!r}: not an override ({useful_line(error)}); write key=value or key=[1,2]")
            continue
        parsed.append(override)
        if problem := _problem(override, folder):
            problems.append(f"  {text!r}: {problem}")
    if problems:
        raise ConfigError("\n".join(["command line: not understood", *problems]))
    return parsed


def is_group(override: Override, folder: Path) -> bool:
    """Whether an override chooses an option of a group rather than setting a value."""
    if isinstance(override.value(), dict):
        return False
    return override.package is not None or any((base / override.key_or_group).is_dir() for base in (folder, CONFIGS))


def useful_line(error: BaseException) -> str:
    """The line of a message that says what is wrong: Hydra puts headings above it, and hides it in `__cause__`."""
    text = str(error) or str(error.__cause__ or "")
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.rstrip().endswith("config:")]
    line = lines[0] if lines else type(error).__name__
    malformed = isinstance(error, GrammarParseError) or isinstance(error.__cause__, GrammarParseError)
    return f"an interpolation like ${{key}} is malformed: {line}" if malformed else line


def _parse(text: str) -> Override:
    """One override; a value that Hydra's grammar has no word for, such as `~/coco` or `a&b`, is text."""
    parser = OverridesParser.create()
    try:
        return parser.parse_overrides([text])[0]
    except OverrideParseException:
        key, equals, value = text.partition("=")
        if not equals or not value or value[0] in "[{'\"":
            raise
        escaped = value.replace("\\", "\\\\").replace("'", "\\'")
        return parser.parse_overrides([f"{key}='{escaped}'"])[0]


def _problem(override: Override, folder: Path) -> str | None:
    if override.is_sweep_override():
        return "several values; write a list as key=[a,b], text as \"key='a,b'\""
    if override.is_hydra_override():
        return "Hydra's own settings have no effect here; leave it out"
    group, choice = override.key_or_group, override.value()
    known = {*options(group), *(path.stem for path in (folder / group).glob(f"*{SUFFIX}"))}
    if known and isinstance(choice, str) and not override.is_delete() and choice not in known:
        return f"no such option{suggestion(choice, known)}"
    return None
