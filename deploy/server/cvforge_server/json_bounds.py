"""How much JSON is parsed: 50 MB of brackets would become a gigabyte of objects, 50 MB of base64 become one text."""

from __future__ import annotations

from cvforge_server.errors import Code, RequestError

MOST_OUTSIDE = 1_000_000
"""Bytes outside of strings: brackets, commas, numbers, spaces. Parsed they took up to 40 MB."""
MOST_QUOTES = 250_000
"""Twice the strings."""
QUOTE, BACKSLASH = b'"', b"\\"


def check_bounds(data: bytes) -> None:
    """Let pass what needs not much more memory parsed than as text; JSON that is none passes too, for its parser to refuse.

    Raises:
        RequestError: too many strings, or too much outside of them.
    """
    quotes = data.count(QUOTE)
    if quotes > MOST_QUOTES:
        raise RequestError(
            Code.TOO_LARGE, f"JSON: found {quotes} quotation marks, accepted {MOST_QUOTES}; send several requests"
        )
    outside = _bytes_outside(data)
    if outside > MOST_OUTSIDE:
        raise RequestError(
            Code.TOO_LARGE,
            f"JSON: found {outside} bytes outside of strings (brackets, numbers, spaces), accepted {MOST_OUTSIDE}; "
            "images are base64 texts",
        )


def _bytes_outside(data: bytes) -> int:
    outside, position = 0, 0
    while (start := data.find(QUOTE, position)) >= 0:
        outside += start - position
        end = _string_end(data, start + 1)
        if end < 0:
            return outside
        position = end + 1
    return outside + len(data) - position


def _string_end(data: bytes, start: int) -> int:
    """Where the quote stands that ends a string whose text begins at `start`; -1 where none does."""
    while (end := data.find(QUOTE, start)) >= 0:
        escaping = 0
        if data.endswith(BACKSLASH, start, end):
            escaping = end - start - len(data[start:end].rstrip(BACKSLASH))
        if escaping % 2 == 0:
            return end
        start = end + 1
    return -1
