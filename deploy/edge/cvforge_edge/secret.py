"""Passwords and keys, from the environment or from a file: never from the command line, which every user can read."""

from __future__ import annotations

import os

from cvforge_edge.errors import UsageError
from cvforge_edge.plain_file import read_plain_file

MAX_SECRET_BYTES = 4096
FILE_SUFFIX = "_FILE"


def read_secret(name: str) -> str | None:
    """The secret in the environment variable `name`, or in the file that the variable `name` + `_FILE` names.

    The file is for systemd's `LoadCredential=` and for Docker's secrets; a line break at its end is left out.

    Args:
        name: of the variable, such as `CVFORGE_MQTT_PASSWORD`.

    Returns:
        The secret, or None where neither variable is set.

    Raises:
        UsageError: both are set, the file cannot be read, or the secret is empty or has control characters.
    """
    value, path = os.environ.get(name), os.environ.get(name + FILE_SUFFIX)
    if value is not None and path is not None:
        raise UsageError(f"{name} and {name}{FILE_SUFFIX} are both set; unset one of them")
    where = name
    if path is not None:
        where = f"{name}{FILE_SUFFIX}={path}"
        try:
            value = read_plain_file(path, limit_bytes=MAX_SECRET_BYTES).decode("utf-8").removesuffix("\n")
        except FileNotFoundError:
            raise UsageError(f"{where}: no such file") from None
        except ValueError as error:  # also undecodable bytes
            reason = "is not UTF-8 text" if isinstance(error, UnicodeDecodeError) else error
            raise UsageError(f"{where}: {reason}") from None
    if value is not None and (not value or any(ord(character) < 32 for character in value)):
        raise UsageError(f"{where}: the secret is empty or holds control characters; accepted one line of text")
    return value
