"""How a run's config differs from the shipped one that it began with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from cvforge.config.catalog import runnable_configs
from cvforge.config.differences import config_differences
from cvforge.config.load import load
from cvforge.config.schema import Config
from cvforge.errors import CVForgeError

OPTION = "--config"


@dataclass(frozen=True)
class Origin:
    """Where a config comes from.

    Attributes:
        name: of the config that it is held against.
        differences: key, value in the run, value there.
    """

    name: str
    differences: tuple[tuple[str, str, str], ...]


def find_origin(config: Config, command: Sequence[str]) -> Origin | None:
    """The config that a run's command line names, or else the shipped one of the run's name; None where it cannot be read now.

    Args:
        config: of the run.
        command: that started it, as `environment.json` has it.
    """
    named = [text for flag, text in zip(command, command[1:], strict=False) if flag == OPTION]
    named += [text.partition("=")[2] for text in command if text.startswith(f"{OPTION}=")]
    shipped = [config.run.name] if config.run.name in runnable_configs() else []
    for name in [*named, *shipped]:
        root = [] if config.data.root is None else [f"data.root='{config.data.root}'"]
        try:
            origin = load(name, root, require_data=False)
        except CVForgeError:  # it was moved, or belongs to another version: what it said then is not known
            continue
        found = config_differences(asdict(config), asdict(origin))
        return Origin(name, tuple((key, run, there) for key, (run, there) in found.items()))
    return None
