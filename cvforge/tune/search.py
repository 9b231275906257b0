"""What a search is: everything that one of its processes has to know, and what a trial's config is made of."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cvforge.config.flat import flattened
from cvforge.config.schema import Config
from cvforge.tune.space import Parameter, parse_parameter

SAME_SCORES = (
    "run.name",
    "run.dir",
    "data.root",
    "data.hint",
    "data.num_workers",
    "data.cache",
    "data.cache_limit_mb",
    "trainer.threads",
    "trainer.progress",
)
"""Keys that may change while a study goes on."""
NOT_TRAINING = ("logging.", "export.")
AGAIN = 75
"""The exit code of a process of a search that asks for a fresh one in its place."""


@dataclass(frozen=True)
class Search:
    """A search, as its processes hand it to each other.

    Attributes:
        folder: of the study.
        config: as given to `--config`.
        overrides: values for all trials.
        space: key -> range.
        trials: how many are wanted, over all calls and processes.
        sampler: a name of `draw.SAMPLERS`.
        pruner: a name of `draw.PRUNERS`.
        seed: of what is drawn.
        keep: the checkpoints of how many trials stay.
        max_epochs: of a trial, where all have the same.
        threads: torch threads of a trial, or None: as the config says.
        since: when this call began, ISO 8601: failures of earlier calls are not held against it.
    """

    folder: str
    config: str
    overrides: tuple[str, ...]
    space: dict[str, str]
    trials: int
    sampler: str
    pruner: str
    seed: int
    keep: int
    max_epochs: int | None
    threads: int | None
    since: str

    @property
    def parameters(self) -> list[Parameter]:
        """The space."""
        return [parse_parameter(key, written) for key, written in self.space.items()]

    @property
    def path(self) -> Path:
        """The study's folder."""
        return Path(self.folder)

    def drawn(self, params: Mapping[str, Any]) -> list[str]:
        """Drawn values as overrides."""
        return [parameter.override(params[parameter.key]) for parameter in self.parameters]

    def trial_overrides(self, params: Mapping[str, Any]) -> list[str]:
        """What a trial's config is loaded with: no test set, since a search that looked at it would spoil it."""
        threads = [] if self.threads is None else [f"trainer.threads={self.threads}"]
        return [*self.overrides, *self.drawn(params), "data.test=null", "trainer.devices=1", *threads]

    def command(self, drawn: list[str]) -> str:
        """What trains the same by hand, from drawn values as overrides."""
        return "python tools/train.py " + shlex.join(["--config", self.config, *self.overrides, *drawn])

    def to_json(self) -> str:
        """One line."""
        return json.dumps(asdict(self))


def search_from_json(line: str) -> Search:
    """What `to_json` wrote."""
    values = json.loads(line)
    return Search(**{**values, "overrides": tuple(values["overrides"])})


def definition(config: Config, parameters: list[Parameter]) -> dict[str, Any]:
    """What makes trials of a study comparable: the space, and every other value that training depends on."""
    searched = [parameter.key for parameter in parameters]
    values = {
        key: value
        for key, value in flattened(asdict(config)).items()
        if key not in SAME_SCORES
        and not key.startswith(NOT_TRAINING)
        and not any(key == name or key.startswith(f"{name}.") for name in searched)
    }
    return {"space": {p.key: p.written for p in parameters}, "values": json.loads(json.dumps(values))}


def differences(found: dict[str, Any], stored: dict[str, Any]) -> list[str]:
    """One line for each thing in which two definitions differ."""
    lines = []
    for part, what in (("space", "range"), ("values", "value")):
        for key in sorted(found[part].keys() | stored[part].keys()):
            now, then = found[part].get(key, "none"), stored[part].get(key, "none")
            if now != then:
                lines.append(f"{key}: {what} {now}, in the study {then}")
    return lines
