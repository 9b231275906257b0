"""Where a webhook's messages go, and with which secrets."""

from __future__ import annotations

import ssl
from dataclasses import field
from urllib.parse import urlsplit

from cvforge_edge.errors import UsageError
from cvforge_edge.records import dataclass
from cvforge_edge.sinks.mqtt_settings import tls_context

TOKEN, SIGNING_KEY = "CVFORGE_WEBHOOK_TOKEN", "CVFORGE_WEBHOOK_KEY"
PORTS = {"http": 80, "https": 443}
ACCEPTED = "accepted http://host[:80]/path or https://host[:443]/path"


@dataclass(frozen=True)
class WebhookSettings:
    """An address that takes POST requests.

    Attributes:
        host: name or IP address.
        port: TCP port.
        target: path and query, which may hold a secret and is kept out of every text.
        tls: how the connection is secured; None sends everything in the clear.
        token: goes along as `Authorization: Bearer`; None for none.
        signing_key: of the HMAC-SHA256 of each body in `X-CVForge-Signature-256`; None for none.
        timeout_s: how long the server may be silent; an answer may take three times as long in all.
    """

    host: str
    port: int
    target: str = field(repr=False)
    tls: ssl.SSLContext | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    signing_key: str | None = field(default=None, repr=False)
    timeout_s: float = 10.0

    @property
    def name(self) -> str:
        """The address, without what comes behind the host."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'http' if self.tls is None else 'https'}://{host}:{self.port}"


def webhook_settings(
    address: str, *, token: str | None, signing_key: str | None, ca_file: str | None = None, timeout_s: float = 10.0
) -> WebhookSettings:
    """The settings for an address.

    Args:
        address: as the user wrote it.
        token: secret for the server, or None.
        signing_key: shared with the server, or None.
        ca_file: certificates that may have signed the server's; None takes the system's.
        timeout_s: see `WebhookSettings`.

    Raises:
        UsageError: the address, or what belongs to it, cannot work.
    """
    try:
        parts = urlsplit(address)
        port = parts.port or PORTS.get(parts.scheme, 0)
    except ValueError:  # its text may hold a part of a password
        raise UsageError(f"--webhook: no host and port (0 to 65535) can be read from the address; {ACCEPTED}") from None
    if parts.username is not None:
        raise UsageError(
            f"--webhook: the address holds a user or password, which every user of this machine could read; put a token "
            f"into the environment variable {TOKEN}, or its file into {TOKEN}_FILE"
        )
    if parts.scheme not in PORTS or not parts.hostname or parts.fragment:
        raise UsageError(f"--webhook: {ACCEPTED}, found {parts.scheme or 'no scheme'}://{parts.hostname or ''}")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if not target.isascii() or not target.isprintable() or " " in target:
        raise UsageError("--webhook: the path holds spaces or letters beyond ASCII; write them as %20 and the like")
    if ca_file is not None and parts.scheme != "https":
        raise UsageError(f"--webhook-ca {ca_file}: only https:// addresses use TLS")
    return WebhookSettings(
        host=parts.hostname,
        port=port,
        target=target,
        tls=tls_context(ca_file, option="--webhook-ca") if parts.scheme == "https" else None,
        token=token,
        signing_key=signing_key,
        timeout_s=timeout_s,
    )
