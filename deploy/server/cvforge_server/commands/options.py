"""Options that several commands share."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

STORE, SERVER = Path("serving/models"), Path("serving/server")


def parser(name: str, text: str, *, examples: str = "") -> argparse.ArgumentParser:
    """The parser of a command, without options."""
    return argparse.ArgumentParser(
        prog=f"serve.py {name}",
        usage="%(prog)s [options]",
        description=text,
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def add_store(parser: argparse.ArgumentParser) -> None:
    """Where archives lie."""
    parser.add_argument("--store", type=Path, default=STORE, metavar="FOLDER", help=f"of archives (default {STORE})")


def add_server(parser: argparse.ArgumentParser) -> None:
    """Where a server keeps its files."""
    server_help = f"files, logs and tokens of the server, for this user only (default {SERVER})"
    parser.add_argument("--server", type=Path, default=SERVER, metavar="FOLDER", help=server_help)


def number_from(low: float, high: float) -> _Number:
    """A number in a range (an argparse type)."""
    return _Number(low, high, whole=False)


def count_from(low: int, high: int) -> _Number:
    """A whole number in a range (an argparse type)."""
    return _Number(low, high, whole=True)


def renamed_to(option: str) -> Callable[[str], NoReturn]:
    """Tells whoever uses an option by its old name (an argparse type)."""

    def refuse(_: str) -> NoReturn:
        raise argparse.ArgumentTypeError(f"is now called {option}")

    return refuse


class _Number:
    def __init__(self, low: float, high: float, *, whole: bool) -> None:
        self._low, self._high, self._whole = low, high, whole

    def __call__(self, text: str) -> float:
        try:
            value = int(text) if self._whole else float(text)
        except ValueError:
            value = float("nan")
        if not self._low <= value <= self._high:
            kind = "a whole number" if self._whole else "a number"
            raise argparse.ArgumentTypeError(f"found {text!r}, accepted {kind} from {self._low:g} to {self._high:g}")
        return value
