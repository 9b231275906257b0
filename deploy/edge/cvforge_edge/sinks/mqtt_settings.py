"""Where MQTT messages go, from one address: `mqtt[s]://[user@]host[:port]/topic`."""

from __future__ import annotations

import ssl
from dataclasses import field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from cvforge_edge.address_secrets import address_without_secrets
from cvforge_edge.errors import UsageError
from cvforge_edge.records import dataclass

PASSWORD = "CVFORGE_MQTT_PASSWORD"
PORTS = {"mqtt": 1883, "mqtts": 8883}
ACCEPTED = "accepted mqtt://[user@]host[:1883]/topic, or mqtts:// for TLS (port 8883)"
LONGEST_TOPIC_BYTES = 60_000
"""MQTT allows 65,535; `/results` comes behind it."""


@dataclass(frozen=True)
class MqttSettings:
    """A broker and a topic.

    Attributes:
        host: name or IP address.
        port: TCP port.
        topic: beginning of the topics: `/results`, `/events` and `/status` come behind it.
        user: None for none.
        password: for `user`; kept out of every text.
        tls: how the connection is secured; None sends everything in the clear.
        qos: 1 waits for the broker's acknowledgement of each message, 0 does not.
        version: of MQTT, `5` or `3.1.1`.
    """

    host: str
    port: int
    topic: str
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: ssl.SSLContext | None = field(default=None, repr=False)
    qos: int = 1
    version: str = "5"

    @property
    def name(self) -> str:
        """The address, without the password."""
        scheme = "mqtt" if self.tls is None else "mqtts"
        user = "" if self.user is None else f"{self.user}@"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{scheme}://{user}{host}:{self.port}/{self.topic}"


def mqtt_settings(
    address: str, *, password: str | None, ca_file: str | None = None, qos: int = 1, version: str = "5"
) -> MqttSettings:
    """The settings for an address.

    Args:
        address: as the user wrote it.
        password: belongs to the user in the address.
        ca_file: certificates that may have signed the broker's; None takes the system's.
        qos: 0 or 1.
        version: of MQTT.

    Raises:
        UsageError: the address, or what belongs to it, cannot work.
    """
    try:
        parts = urlsplit(address)
        port = parts.port or PORTS.get(parts.scheme, 0)
    except ValueError:  # its text may hold a part of a password
        raise UsageError(f"--mqtt: no host and port (0 to 65535) can be read from the address; {ACCEPTED}") from None
    if parts.password is not None:
        raise UsageError(
            f"--mqtt: the address holds a password, which every user of this machine could read; put it into the "
            f"environment variable {PASSWORD}, or its file into {PASSWORD}_FILE"
        )
    shown = address_without_secrets(address)
    if parts.scheme not in PORTS or not parts.hostname or parts.query:
        raise UsageError(f"--mqtt {shown}: {ACCEPTED}")
    if password is not None and not parts.username:
        raise UsageError(
            f"--mqtt {shown}: {PASSWORD} is set, but the address names no user; write mqtt://user@host/topic"
        )
    if ca_file is not None and parts.scheme != "mqtts":
        raise UsageError(f"--mqtt-ca {ca_file}: only mqtts:// addresses use TLS, found {shown}")
    topic = unquote(parts.path.removeprefix("/")) + ("#" if "#" in address else "")
    return MqttSettings(
        host=parts.hostname,
        port=port,
        topic=_checked_topic(topic, shown),
        user=None if not parts.username else unquote(parts.username),
        password=password,
        tls=tls_context(ca_file, option="--mqtt-ca") if parts.scheme == "mqtts" else None,
        qos=qos,
        version=version,
    )


def tls_context(ca_file: str | None, *, option: str) -> ssl.SSLContext:
    """TLS that checks the other side's certificate and name.

    Args:
        ca_file: PEM file of certificate authorities; None takes the system's.
        option: that named the file, for messages.

    Raises:
        UsageError: the file is missing or holds no certificate.
    """
    if ca_file is not None and not Path(ca_file).is_file():
        raise UsageError(f"{option} {ca_file}: no such file; accepted a PEM file of certificates")
    try:
        return ssl.create_default_context(cafile=ca_file)
    except (ssl.SSLError, OSError) as error:
        raise UsageError(f"{option} {ca_file}: holds no certificate in PEM form ({error})") from None


def _checked_topic(topic: str, address: str) -> str:
    problem = None
    if not topic or topic.startswith("/") or topic.endswith("/"):
        problem = "the topic is empty, or begins or ends with a slash"
    elif topic.startswith("$") or any(c in "+#" or ord(c) < 32 or ord(c) == 127 for c in topic):
        problem = "a topic may hold neither + nor # nor control characters, and not begin with $"
    elif len(topic.encode("utf-8")) > LONGEST_TOPIC_BYTES:
        problem = f"the topic is longer than {LONGEST_TOPIC_BYTES} bytes"
    if problem is not None:
        raise UsageError(f"--mqtt {address}: {problem}; {ACCEPTED}, such as mqtt://broker.local/site/gate")
    return topic
