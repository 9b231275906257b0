"""Who may see the page: a token, sent as `Authorization: Bearer` by programs and typed once into a form by people."""

from __future__ import annotations

import hmac
import logging
import os
import secrets
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from cvforge_edge.errors import UsageError
from cvforge_edge.web.address import is_local_name
from cvforge_edge.web.http_message import Request
from cvforge_edge.web.session import SESSION_S, Sessions

logger = logging.getLogger(__name__)

TOKEN_VARIABLE = "CVFORGE_WEB_TOKEN"
MIN_TOKEN_CHARACTERS, MAX_TOKEN_CHARACTERS = 16, 256
TOKEN_BYTES = 16
"""Of a made token: 128 bits, 22 characters."""
WRONG_TOKEN_PAUSE_S = 1.0
"""A guess is answered this late."""
WARN_EVERY_S = 10.0
OTHERS_MAY_READ = 0o004


class Access:
    """Decides whether a request may be answered.

    Args:
        token: what a client must know; None lets everybody in who can connect.
        port: of the server; browsers send a cookie to every port of a host, so it is part of the cookie's name.
        local_names_only: whether the `Host` header must name this device itself, as on loopback.
    """

    def __init__(self, token: str | None, *, port: int, local_names_only: bool) -> None:
        self._token = token
        self._sessions = None if token is None else Sessions(token)
        self._cookie = f"cvforge_{port}"
        self._local_names_only = local_names_only
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._refused, self._warned_s = 0, -WARN_EVERY_S

    @property
    def refused(self) -> int:
        """How many wrong tokens came."""
        with self._lock:
            return self._refused

    def close(self) -> None:
        """Let those go who wait for their refusal."""
        self._closing.set()

    def names_this_device(self, request: Request) -> bool:
        """Whether the request was sent to a name that may be used for this server; see `is_local_name`."""
        return not self._local_names_only or is_local_name(request.headers.get("host", ""))

    def allows(self, request: Request, client: str) -> bool:
        """Whether the client has shown the token, or has a session."""
        if self.has_session(request):
            return True
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        return scheme.lower() == "bearer" and self.is_token(token.strip(), client)

    def has_session(self, request: Request) -> bool:
        """Whether the browser has logged in, or nobody has to."""
        return self._sessions is None or self._sessions.is_valid(request.cookie(self._cookie))

    def is_token(self, text: str, client: str) -> bool:
        """Whether a text is the token; takes a moment when it is not."""
        if self._token is None or _equal(text, self._token):
            return True
        self._note_refusal(client)
        self._closing.wait(WRONG_TOKEN_PAUSE_S)
        return False

    def session_header(self) -> tuple[str, str]:
        """The header that gives a browser a session of `SESSION_S`; no script can read it, no other site can use it."""
        assert self._sessions is not None, "asked only where there is a token"
        value = self._sessions.make()
        return "Set-Cookie", f"{self._cookie}={value}; Path=/; Max-Age={SESSION_S}; HttpOnly; SameSite=Strict"

    def _note_refusal(self, client: str) -> None:
        with self._lock:
            self._refused += 1
            now_s = time.monotonic()
            if now_s - self._warned_s >= WARN_EVERY_S:
                self._warned_s = now_s
                logger.warning("web: wrong token from %s (%d wrong ones since the start)", client, self._refused)


def make_token() -> str:
    """A new token that nobody can guess."""
    return secrets.token_urlsafe(TOKEN_BYTES)


def given_token(file: str | None, environment: Mapping[str, str]) -> str | None:
    """The token that the user has chosen, or None.

    Args:
        file: holds it as its only line; None where there is none.
        environment: may hold it as `CVFORGE_WEB_TOKEN`; the file goes before it.

    Raises:
        UsageError: the file cannot be read, or the token is too short or not plain characters.
    """
    if file is not None:
        return _checked(_read(Path(file)), where=f"--web-token {file}")
    text = environment.get(TOKEN_VARIABLE)
    return None if text is None else _checked(text, where=TOKEN_VARIABLE)


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            text = file.read(2 * MAX_TOKEN_CHARACTERS).decode("ascii", errors="replace")
            if os.fstat(file.fileno()).st_mode & OTHERS_MAY_READ:
                logger.warning("%s: every user of this device can read the token; chmod 600 mends it", path)
    except OSError as error:
        raise UsageError(f"--web-token {path}: cannot be read ({error.strerror})") from error
    return text.strip()


def _checked(token: str, *, where: str) -> str:
    plain = token.isascii() and token.isprintable() and " " not in token
    if not plain or not MIN_TOKEN_CHARACTERS <= len(token) <= MAX_TOKEN_CHARACTERS:
        raise UsageError(
            f"{where}: found {len(token)} characters; accepted {MIN_TOKEN_CHARACTERS} to {MAX_TOKEN_CHARACTERS} "
            "letters, digits and signs without spaces. Make one: openssl rand -hex 16"
        )
    return token


def _equal(text: str, secret: str) -> bool:
    """Compared in a time that does not tell how much of it is right."""
    return hmac.compare_digest(text.encode("utf-8", errors="replace"), secret.encode())
