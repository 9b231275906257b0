"""Addresses and pipelines as they may be shown: without the passwords, tokens and keys that users write into them."""

from __future__ import annotations

import re

HIDDEN = "***"
_NAME = re.compile(r"(?<![\w.%-])([\w.%-]+)\s*=\s*")
_SECRET_NAME = re.compile(
    r"pass|pwd|psw|psk|token|key|auth|secret|sign|credential|cookie|session|jwt|hash|(?:pw|pas|sig|sid|pin)$",
    re.IGNORECASE,
)
"""In names of parameters and properties whose values are secrets: one too many costs nothing, one too few a password."""
# Cheap recorders have /user=admin_password=abc_channel=1_stream=0.sdp, and channels must stay apart.
_END_OF_VALUE = re.compile(r"&|_(?:channel|stream)=|\Z")
_HOST_AND_PORT = re.compile(r"(?:\[[^]]*\]|[^:]*)(?::\d*)?")
_COLON = re.compile(r"(:|%3a).*", re.IGNORECASE | re.DOTALL)
_INNER = re.compile(r"((?:://[^/?#&:]*:)|(?:%3a%2f%2f[^&]*?%3a))[^&]*(@|%40)", re.IGNORECASE)
"""User and password of an address that is part of another one, percent-encoded or not."""
_WORD = r"""(?:"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|\\.|[^\s"'\\]|["'\\])+"""
_PIPELINE_WORD = re.compile(rf"{_WORD}(?:(?<==)\s+{_WORD}|\s+=\s*{_WORD})?", re.DOTALL)
"""A word as gst-launch-1.0 reads it, quoted or not, and the value behind its `=`."""


def address_without_secrets(address: str) -> str:
    """An address that may be logged, sent and saved.

    Hidden are what stands between `:` and the last `@` of user and host, and the values of parameters whose names say that
    they are secret. A password with `/`, `?` or `#`, which should have been percent-encoded, is hidden as well.

    >>> address_without_secrets("rtsp://admin:secret@10.0.0.7/main")
    'rtsp://admin:***@10.0.0.7/main'
    >>> address_without_secrets("rtmp://10.0.0.7/bcs?channel=0&user=admin&password=secret")
    'rtmp://10.0.0.7/bcs?channel=0&user=admin&password=***'
    """
    scheme, separator, rest = address.partition("://")
    if separator:
        rest = _INNER.sub(rf"\1{HIDDEN}\2", _host_without_password(rest))
    elif "@" in scheme:  # no address, but perhaps meant to be one
        end = scheme.rindex("@")
        scheme = _COLON.sub(rf"\1{HIDDEN}", scheme[:end]) + scheme[end:]
    return _without_parameters(scheme + separator + rest)


def pipeline_without_secrets(pipeline: str) -> str:
    """A pipeline for gst-launch-1.0 that may be logged, sent and saved.

    Hidden are the values of properties whose names say that they are secret, and what `address_without_secrets` hides.

    >>> pipeline_without_secrets('rtspsrc location=rtsp://10.0.0.7/a user-id=admin user-pw="top secret" ! decodebin')
    'rtspsrc location=rtsp://10.0.0.7/a user-id=admin user-pw=*** ! decodebin'
    """
    return _PIPELINE_WORD.sub(lambda found: _word_without_secrets(found[0]), pipeline)


def _host_without_password(rest: str) -> str:
    """What follows `://`."""
    authority = re.split("[/?#]", rest, maxsplit=1)[0]
    if "@" in authority:
        end = authority.rindex("@")
    elif _HOST_AND_PORT.fullmatch(authority):
        return rest
    else:  # no port behind the colon, so a password that was cut off
        end = rest.rindex("@") if "@" in rest else len(authority)
    return _COLON.sub(rf"\1{HIDDEN}", rest[:end]) + rest[end:]


def _without_parameters(address: str) -> str:
    """Without the values of secret parameters; in linear time, since an address may be long."""
    shown, done = "", 0
    for name in _NAME.finditer(address):
        if name.start() < done or not _SECRET_NAME.search(name[1]):
            continue
        end = _END_OF_VALUE.search(address, name.end())
        shown += address[done : name.end()] + HIDDEN
        done = len(address) if end is None else end.start()
    return shown + address[done:]


def _word_without_secrets(word: str) -> str:
    before, separator, _ = word.partition("://")
    for name in _NAME.finditer(before):
        if _SECRET_NAME.search(name[1]):
            opened = word[0] if word[0] in "\"'" else ""
            return f"{word[: name.end()]}{HIDDEN}{opened}"
    if not separator:
        return word
    last = word[-1] if word[-1] in "\"'" and word[-1] in before else ""
    return address_without_secrets(word.removesuffix(last)) + last
