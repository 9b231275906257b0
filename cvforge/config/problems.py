"""What is wrong with a config, collected so that everything is reported at once."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from cvforge.errors import ConfigError

MAX_LISTED = 12
NEAR_MISS_CUTOFF = 0.6


@dataclass
class Problems:
    """Problems in the order in which they were found, one line each."""

    found: list[tuple[str, str]] = field(default_factory=list)

    def add(self, key: str, text: str) -> None:
        """Note what is wrong at a key; the same line is kept once."""
        if (key, text) not in self.found:
            self.found.append((key, text))

    def raise_any(self, where: str, *, origin: Callable[[str], str | None]) -> None:
        """End with everything that was found.

        Args:
            where: the config that was read.
            origin: where a key got its value (a file, or the command line), or None when nobody set it.

        Raises:
            ConfigError: there is at least one problem.
        """
        if not self.found:
            return
        count = "1 problem" if len(self.found) == 1 else f"{len(self.found)} problems"
        lines = [f"{where}: {count}"]
        for key, text in self.found:
            source = origin(key)
            lines.append(f"  {key}: {text}" + (f" [{source}]" if source else ""))
        raise ConfigError("\n".join(lines))


def suggestion(name: str, accepted: Iterable[str]) -> str:
    """`; did you mean 'x'?` when an accepted name is close, then the accepted names; to append to a message."""
    names = sorted(set(accepted))
    close = difflib.get_close_matches(name, names, n=1, cutoff=NEAR_MISS_CUTOFF)
    text = f"; did you mean '{close[0]}'?" if close else ";"
    if not names:
        return f"{text} none are accepted"
    listed = ", ".join(names[:MAX_LISTED]) + (", ..." if len(names) > MAX_LISTED else "")
    return f"{text} accepted: {listed}"


def join(prefix: str, key: object) -> str:
    """The dotted path of a key below a prefix."""
    return f"{prefix}.{key}" if prefix else str(key)
