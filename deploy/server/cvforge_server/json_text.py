"""What is said in JSON, as the bytes that are sent."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any


def json_bytes(value: Any) -> bytes:
    """In UTF-8; half of a surrogate pair, which a client may have in a name, goes back as the escape it came as.

    Raises:
        ValueError: it has a number that JSON has not.
    """
    return json.dumps(value, ensure_ascii=False, allow_nan=False).encode("utf-8", "backslashreplace")


def quoted(data: bytes) -> bytes:
    """JSON as a text within JSON: of what a text must not hold, it has only quotation marks and backslashes."""
    return b'"' + data.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'


def separated(rows: Sequence[bytes]) -> Iterator[bytes]:
    """The elements of a list and what stands between them, to be joined once: they may be large."""
    for number, row in enumerate(rows):
        if number:
            yield b", "
        yield row
