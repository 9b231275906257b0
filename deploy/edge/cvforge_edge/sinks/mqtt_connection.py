"""One connection to an MQTT broker, driven by the one thread that owns it; the only file that needs paho-mqtt."""

from __future__ import annotations

import hashlib
import select
import socket
import ssl
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any

from cvforge_edge.errors import BackendError
from cvforge_edge.sinks.mqtt_settings import MqttSettings

if TYPE_CHECKING:
    from paho.mqtt.client import Client

CONNECT_TIMEOUT_S = 5.0
KEEPALIVE_S = 15
"""A broker that is silent for twice as long is gone; the broker tells others that we are gone after 1.5 times that."""
WINDOW = 64
"""Messages on their way at once: at 100 ms to the broker and back, 640 messages a second."""
ONLINE, OFFLINE = "online", "offline"
FIRST_REFUSAL = 0x80
"""Reason codes from here on are refusals. Source: MQTT 5.0, 2.4."""
TRY_LATER = frozenset({0x80, 0x83, 0x97})
"""Unspecified error, implementation specific error, quota exceeded: may pass."""


class ConnectionFailedError(Exception):
    """There is no connection, or none any more; the text says why."""


def check_paho() -> None:
    """See whether the package is there.

    Raises:
        BackendError: it is not, or too old.
    """
    try:
        from paho.mqtt.enums import CallbackAPIVersion  # noqa: F401  # new in version 2
    except ImportError:
        raise BackendError('--mqtt needs the package paho-mqtt: pip install --upgrade "paho-mqtt>=2.1,<3"') from None


class MqttConnection:
    """Publishes messages and collects the broker's acknowledgements.

    Attributes:
        acknowledged: of `publish`, numbers that the broker has taken since somebody last emptied the list, in its order.
        refused: likewise, those that it will never take, with its reason.
        window: how many may be on their way at once.
    """

    def __init__(self, settings: MqttSettings) -> None:
        """Prepare; nothing is sent yet.

        Args:
            settings: the broker and the topic.
        """
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

        self._settings = settings
        self.acknowledged: list[int] = []
        self.refused: list[tuple[int, str]] = []
        self.window = WINDOW
        self._largest_bytes: int | None = None
        self._answer: str | None = None
        self._failure: str | None = None
        # The same name after a restart: the broker then ends what is left of the old connection, and tells of its end,
        # before this one says that it is online.
        identity = hashlib.sha256(f"{socket.gethostname()} {settings.name}".encode()).hexdigest()
        version = MQTTProtocolVersion.MQTTv5 if settings.version == "5" else MQTTProtocolVersion.MQTTv311
        client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=f"cvforge-{identity[:12]}",
            clean_session=None if settings.version == "5" else True,
            protocol=version,
        )
        client.connect_timeout = CONNECT_TIMEOUT_S
        client.max_inflight_messages = 0  # counted here
        client.on_connect, client.on_disconnect, client.on_publish = self._connected, self._lost, self._published
        client.will_set(self._status_topic, OFFLINE, qos=1, retain=True)
        if settings.user is not None:
            client.username_pw_set(settings.user, settings.password)
        if settings.tls is not None:
            client.tls_set_context(settings.tls)
        self._client: Client = client

    def open(self) -> None:
        """Connect, and say so under `<topic>/status`; takes at most about ten seconds.

        Raises:
            ConnectionFailedError: no broker, a wrong certificate, or the broker refuses.
        """
        try:
            self._client.connect(self._settings.host, self._settings.port, keepalive=KEEPALIVE_S)
        except ssl.SSLError as error:
            raise ConnectionFailedError(
                f"TLS: {getattr(error, 'verify_message', '') or error.reason or error}"
            ) from None
        except (OSError, ValueError) as error:
            raise ConnectionFailedError(
                getattr(error, "strerror", None) or str(error) or type(error).__name__
            ) from None
        deadline_s = time.monotonic() + CONNECT_TIMEOUT_S
        while self._answer is None and time.monotonic() < deadline_s:
            self.exchange(timeout_s=deadline_s - time.monotonic())
        if self._answer is None:
            raise ConnectionFailedError("the broker does not answer")
        if self._answer:
            raise ConnectionFailedError(f"the broker refuses: {self._answer}")
        self._client.publish(self._status_topic, ONLINE, qos=1, retain=True)

    def publish(self, kind: str, body: bytes) -> int:
        """Send a message to `<topic>/<kind>`, as far as the network takes it at once.

        Returns:
            Its number, which comes back in `acknowledged` or `refused`; 0 for one that is larger than the broker takes.

        Raises:
            ConnectionFailedError: the connection is lost.
        """
        topic = f"{self._settings.topic}/{kind}"
        if self._largest_bytes is not None and len(topic) + len(body) + 16 > self._largest_bytes:
            return 0
        number = self._client.publish(topic, body, qos=self._settings.qos).mid
        self._check()
        return number

    def exchange(self, *, timeout_s: float, wake: int | None = None) -> None:
        """Send and receive what is due; wait until there is something.

        Args:
            timeout_s: wait no longer.
            wake: a descriptor; when it becomes readable the wait ends.

        Raises:
            ConnectionFailedError: the connection is lost.
        """
        connection: Any = self._client.socket()
        if connection is None:
            raise ConnectionFailedError(self._failure or "connection lost")
        decrypted = isinstance(connection, ssl.SSLSocket) and connection.pending() > 0
        reading = [connection] if wake is None else [connection, wake]
        writing = [connection] if self._client.want_write() else []
        readable, writable, _ = select.select(reading, writing, [], 0.0 if decrypted else max(0.0, timeout_s))
        if writable:
            self._client.loop_write()
        if decrypted or connection in readable:
            self._client.loop_read()
        self._client.loop_misc()
        self._check()

    def leave(self, *, timeout_s: float) -> None:
        """Say under `<topic>/status` that we go, and go; nothing is raised."""
        deadline_s = time.monotonic() + timeout_s
        try:
            farewell = self._client.publish(self._status_topic, OFFLINE, qos=1, retain=True)
            while not farewell.is_published() and time.monotonic() < deadline_s:
                self.exchange(timeout_s=deadline_s - time.monotonic())
            self._client.disconnect()
            while self._client.want_write() and time.monotonic() < deadline_s:
                self.exchange(timeout_s=deadline_s - time.monotonic())
        except (ConnectionFailedError, RuntimeError, ValueError):
            return  # the broker says it in our place: that is the last will

    def __enter__(self) -> MqttConnection:
        return self

    def __exit__(self, _kind: type[BaseException] | None, _error: object, _traceback: TracebackType | None) -> None:
        connection: Any = self._client.socket()
        if connection is not None:
            connection.close()
        # Without these it is released now, and not some day by the garbage collector.
        self._client.on_connect = self._client.on_disconnect = self._client.on_publish = None

    @property
    def _status_topic(self) -> str:
        return f"{self._settings.topic}/status"

    def _check(self) -> None:
        if self._failure is not None:
            raise ConnectionFailedError(self._failure)

    def _connected(self, _client: Client, _data: Any, _flags: Any, reason: Any, properties: Any) -> None:
        self._answer = str(reason) if reason.is_failure else ""
        self.window = min(WINDOW, getattr(properties, "ReceiveMaximum", WINDOW))
        self._largest_bytes = getattr(properties, "MaximumPacketSize", None)

    def _lost(self, _client: Client, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if not self._answer:
            said = "" if str(reason) == "Unspecified error" else f" ({reason})"  # nothing was said
            self._failure = f"connection lost{said}"

    def _published(self, _client: Client, _data: Any, number: int, reason: Any, _properties: Any) -> None:
        value = getattr(reason, "value", 0)
        if value in TRY_LATER:
            self._failure = f"the broker takes no messages now: {reason}"
        elif value >= FIRST_REFUSAL:
            self.refused.append((number, str(reason)))
        else:
            self.acknowledged.append(number)
