"""What a search may change: keys of a config, each with a range in Hydra's own sweep syntax."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override, RangeSweep, Sweep
from hydra.errors import OverrideParseException

from cvforge.config.overrides import useful_line

SYNTAX = (
    "interval(0.1, 0.5), tag(log, interval(1e-4, 1e-2)), int(interval(1, 8)), range(16, 65, step=16), choice(a, b, c)"
)
DIGITS = 6
"""Of a drawn number, so that a command line stays readable."""
FIXED = {
    "task": "it is what the config is about",
    "run.name": "it names the runs of all trials",
    "run.dir": "every trial has a folder of its own",
    "metric": "trials would be scored differently",
    "data.val": "trials would be scored on different data",
    "data.test": "a search never looks at the test set",
    "trainer.limit_val_batches": "trials would be scored on different data",
    "trainer.devices": "a trial runs on one device",
}
"""Keys that no search may change, nor anything below them, and why."""


@dataclass(frozen=True)
class Numbers:
    """A range of numbers; both ends belong to it.

    Attributes:
        low: the smallest.
        high: the largest.
        step: distance of those that are meant; None: any between the ends.
        log: whether magnitudes are drawn evenly.
        whole: whether they are integers.
    """

    low: float
    high: float
    step: float | None
    log: bool
    whole: bool

    @property
    def edges(self) -> tuple[Any, ...]:
        """The outermost values."""
        return (int(self.low), int(self.high)) if self.whole else (self.low, self.high)

    @property
    def points(self) -> tuple[Any, ...] | None:
        """All values; None where there is no end of them."""
        if self.step is None:
            return tuple(range(int(self.low), int(self.high) + 1)) if self.whole else None
        count = round((self.high - self.low) / self.step) + 1
        numbers = (self.low + index * self.step for index in range(count))
        return tuple(int(number) if self.whole else number for number in numbers)

    def text(self, value: Any) -> str:
        """A drawn value as it stands on a command line."""
        if self.whole:
            return str(int(value))
        return repr(min(max(float(f"{value:.{DIGITS}g}"), self.low), self.high))


@dataclass(frozen=True)
class Choice:
    """Some values, each as it stands on a command line."""

    texts: tuple[str, ...]

    @property
    def edges(self) -> tuple[Any, ...]:
        """All of them: any may be the one that does not fit."""
        return self.texts

    @property
    def points(self) -> tuple[Any, ...]:
        """All values."""
        return self.texts

    def text(self, value: Any) -> str:
        """The value itself."""
        return str(value)


@dataclass(frozen=True)
class Parameter:
    """A key that the search changes.

    Attributes:
        key: of an override: `optim.lr`, `model`.
        written: the range as its author wrote it.
        values: what it holds.
    """

    key: str
    written: str
    values: Numbers | Choice

    def override(self, value: Any) -> str:
        """What goes to `tools/train.py` for a value."""
        return f"{self.key}={self.values.text(value)}"


class SpaceError(Exception):
    """A range cannot be used; the message says why."""


def parse_parameter(key: str, written: str) -> Parameter:
    """A key with its range.

    Raises:
        SpaceError: this is no range, an empty one, or the key is not for a search to change.
    """
    fixed = next((name for name in FIXED if key == name or key.startswith(f"{name}.")), None)
    if fixed is not None:
        raise SpaceError(f"cannot be searched: {FIXED[fixed]}")
    try:
        override = OverridesParser.create().parse_overrides([f"{key}={written}"])[0]
    except OverrideParseException as error:
        raise SpaceError(f"found {written!r}: {_reason(error)}; accepted: {SYNTAX}") from error
    if not override.is_sweep_override():
        raise SpaceError(f"found {written!r}, which is one value; a search needs a range, like {SYNTAX}")
    return Parameter(key, written, _values(override))


def _reason(error: OverrideParseException) -> str:
    text = useful_line(error.__cause__ or error).partition(" Available:")[0]
    return f"{text}; write tag(log, interval(LOW, HIGH))" if "'log'" in text else text


def _values(override: Override) -> Numbers | Choice:
    sweep = override.value()
    if isinstance(sweep, ChoiceSweep):
        return _choice(override, sweep)
    if isinstance(sweep, IntervalSweep):
        return _interval(sweep)
    if isinstance(sweep, RangeSweep):
        return _range(sweep)
    raise SpaceError(f"found {type(sweep).__name__.lower()}(), accepted: {SYNTAX}")


def _choice(override: Override, sweep: ChoiceSweep) -> Choice:
    _check_tags(sweep, accepted=set())
    texts = tuple(str(Override._get_value_element_as_str(element)) for element in sweep.list)
    twice = sorted({text for text in texts if texts.count(text) > 1})
    if twice:
        raise SpaceError(f"found {', '.join(twice)} twice; name each choice once")
    return Choice(texts)


def _interval(sweep: IntervalSweep) -> Numbers:
    _check_tags(sweep, accepted={"log"})
    low, high, log = sweep.start, sweep.end, "log" in sweep.tags
    _check_ends(low, high, log=log)
    return Numbers(low, high, None, log, whole=type(low) is int and type(high) is int)


def _range(sweep: RangeSweep) -> Numbers:
    """As Python counts: the end itself is left out."""
    _check_tags(sweep, accepted=set())
    start, stop, step = sweep.start or 0, sweep.stop, sweep.step
    if stop is None or step <= 0:
        raise SpaceError(f"found a range from {start} to {stop} in steps of {step}, expected steps above 0")
    count = math.ceil((stop - start) / step - 1e-9)
    if count < 2:
        raise SpaceError(
            f"found {max(count, 0)} values from {start} to {stop} in steps of {step}, expected two or more"
        )
    whole = all(type(number) is int for number in (start, stop, step))
    last = start + (count - 1) * step
    return Numbers(start, last if whole else round(last, 12), step, False, whole)


def _check_ends(low: Any, high: Any, *, log: bool) -> None:
    if not low < high or not math.isfinite(high - low):
        raise SpaceError(f"found an interval from {low} to {high}, expected a lower number first")
    if log and low <= 0:
        raise SpaceError(f"found {low} as the lower end of a logarithmic interval, expected a number above 0")


def _check_tags(sweep: Sweep, *, accepted: set[str]) -> None:
    unknown = sweep.tags - accepted
    if unknown:
        only = "interval() can have the tag log" if "log" in unknown else "the only tag is log"
        raise SpaceError(f"found the tag {', '.join(sorted(unknown))}; {only}")
