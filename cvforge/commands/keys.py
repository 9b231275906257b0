"""Passphrases of private keys: from the environment or the terminal, never from the command line or into a log."""

from __future__ import annotations

import argparse
import getpass
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cvforge.errors import ConfigError

if TYPE_CHECKING:
    from cvforge.export.sign import SigningKey

PASSPHRASE_VARIABLE = "CVFORGE_KEY_PASSPHRASE"


def add_key_option(parser: argparse._ActionsContainer, *names: str, required: bool) -> None:
    """One or more private keys, in `arguments.keys`; for a parser or a group of options."""
    parser.add_argument(
        *names,
        dest="keys",
        action="append",
        type=Path,
        required=required,
        default=None if required else [],
        metavar="FILE",
        help=f"private key (*.key) to sign with; give it again for a second key. Passphrase: ${PASSPHRASE_VARIABLE} or asked",
    )


def open_keys(paths: Sequence[Path]) -> tuple[SigningKey, ...]:
    """The private keys in some files; an encrypted one gets its passphrase from the environment or the terminal.

    Raises:
        ConfigError: a file is no private key, or its passphrase is missing or wrong.
    """
    from cvforge.export.sign import is_encrypted, read_key

    return tuple(read_key(path, passphrase=_passphrase_for(path) if is_encrypted(path) else None) for path in paths)


def new_passphrase() -> bytes | None:
    """The passphrase for a new key: from the environment, else asked twice at a terminal; None for none.

    Raises:
        ConfigError: the two differ.
    """
    given = os.environ.get(PASSPHRASE_VARIABLE)
    if given:
        return given.encode("utf-8")
    if not sys.stdin.isatty():
        return None
    first = getpass.getpass("passphrase for the new key (empty for none): ")
    if first and first != getpass.getpass("the same again: "):
        raise ConfigError("the two passphrases differ; nothing was written")
    return first.encode("utf-8") or None


def _passphrase_for(path: Path) -> bytes:
    given = os.environ.get(PASSPHRASE_VARIABLE)
    if not given and not sys.stdin.isatty():
        raise ConfigError(f"--key {path}: needs its passphrase; set {PASSPHRASE_VARIABLE}, or run this at a terminal")
    return (given or getpass.getpass(f"passphrase of {path.name}: ")).encode("utf-8")
