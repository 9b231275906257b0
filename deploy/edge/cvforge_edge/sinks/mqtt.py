"""Results and events for an MQTT broker: nothing is lost while it is away, and nobody waits for it.

Topics: `<topic>/results` and `<topic>/events`, see `outgoing` for the messages; `<topic>/status`, retained: `online` while
there is a connection, `offline` after it (the broker says it when this process dies).
"""

from __future__ import annotations

import logging
import os
import threading
from functools import partial

from cvforge_edge.backoff import Backoff
from cvforge_edge.frame import Result
from cvforge_edge.sinks.ending import Ending, keep_sending
from cvforge_edge.sinks.mqtt_connection import ConnectionFailedError, MqttConnection, check_paho
from cvforge_edge.sinks.mqtt_settings import MqttSettings
from cvforge_edge.sinks.outgoing import Message, Outgoing, OutgoingSpec
from cvforge_edge.sinks.sink import HURRY_S
from cvforge_edge.status import Gauge

FIRST_RETRY_S, LONGEST_RETRY_S = 0.5, 30.0
EXCHANGE_S = 1.0
"""Keep-alive messages are looked after at least this often."""
CLOSE_WITHIN_S = 1.2
LEAVE_WITHIN_S, DISK_WITHIN_S = 0.15, 0.1
"""At the end, what of the time is for the farewell, and for the disk, where messages stay that could not be sent."""

logger = logging.getLogger(__name__)


class Mqtt:
    """Publishes on a thread of its own, from a queue on disk."""

    def __init__(self, settings: MqttSettings, spec: OutgoingSpec) -> None:
        """Begin to connect; a broker that is not there is tried again with growing pauses, for ever.

        Args:
            settings: the broker and the topic.
            spec: what is sent, and where it waits.

        Raises:
            BackendError: paho-mqtt is not installed.
            StorageError: there is no room for the queue.
            UsageError: another process uses the same queue.
        """
        check_paho()
        self._settings = settings
        self._stop = threading.Event()
        self._closed = False
        self._ending = Ending(self._begin_to_end)
        self._state = "connecting"
        self._refusal_told = False
        self._wake_reader, self._wake_writer = os.pipe()
        os.set_blocking(self._wake_reader, False)
        os.set_blocking(self._wake_writer, False)
        self._outgoing = Outgoing(spec, on_news=self._wake)
        self._on_way: dict[int, Message] = {}
        self._thread = threading.Thread(target=self._run, name="mqtt", daemon=True)
        self._thread.start()

    def write(self, result: Result) -> None:
        """Take one result; returns at once.

        Raises:
            BackendError: the prediction holds NaN or infinity.
        """
        if not self._closed:
            self._outgoing.put(result)

    def close(self) -> None:
        """Send what goes out within about a second, and keep the rest for the next start; may be called twice."""
        if self._closed:
            return
        self._closed = True
        self._ending.within(CLOSE_WITHIN_S)
        self._thread.join(self._ending.left_s(kept_s=DISK_WITHIN_S))
        self._outgoing.close()
        if not self._thread.is_alive():  # one that hangs in a connection ends with the process
            os.close(self._wake_reader)
            os.close(self._wake_writer)
        self._state = "closed"

    def hurry(self) -> None:
        """Begin to end: see `Unhurried`."""
        self._ending.within(HURRY_S)

    def summary(self) -> str:
        """Where the messages go, and what became of them."""
        return f"{self._settings.name}: {self._outgoing.summary()}; {self._state}"

    def gauges(self) -> tuple[Gauge, ...]:
        """What became of the messages, for graphs."""
        connected = Gauge(
            "cvforge_output_connected",
            "1 while there is a connection, else 0.",
            float(self._state == "connected"),
            (("output", self._settings.name),),
        )
        return (*self._outgoing.gauges(self._settings.name), connected)

    def _begin_to_end(self) -> None:
        self._stop.set()
        self._wake()

    def _wake(self) -> None:
        try:
            os.write(self._wake_writer, b"!")
        except BlockingIOError:
            return  # full: the reader wakes anyway

    def _run(self) -> None:
        set_state = partial(setattr, self, "_state")
        name = self._settings.name
        keep_sending(self._keep_connected, stop=self._stop, pause_s=LONGEST_RETRY_S, name=name, set_state=set_state)

    def _keep_connected(self) -> None:
        backoff = Backoff(first_s=FIRST_RETRY_S, longest_s=LONGEST_RETRY_S)
        told = ""
        while not self._stop.is_set():
            try:
                with MqttConnection(self._settings) as connection:
                    connection.open()
                    logger.info("%s: connected, %d messages wait", self._settings.name, self._outgoing.waiting)
                    self._state, told = "connected", ""
                    self._on_way.clear()
                    self._outgoing.rewind()
                    self._serve(connection, backoff)
                return
            except ConnectionFailedError as error:
                self._state = str(error)
                if told != self._state:
                    logger.warning("%s: %s; trying again, messages wait on disk", self._settings.name, error)
                told = self._state
            self._stop.wait(backoff.next_s())

    def _serve(self, connection: MqttConnection, backoff: Backoff) -> None:
        """Send until there is a request to stop.

        Raises:
            ConnectionFailedError: the connection is lost.
        """
        while not self._stop.is_set():
            self._send(connection)
            connection.exchange(timeout_s=EXCHANGE_S, wake=self._wake_reader)
            self._drain_wake()
            if self._collect(connection):
                backoff.reset()
        while self._outgoing.waiting and (left_s := self._ending.left_s(kept_s=DISK_WITHIN_S + LEAVE_WITHIN_S)) > 0:
            self._send(connection)
            connection.exchange(timeout_s=left_s)
            self._collect(connection)
        connection.leave(timeout_s=self._ending.left_s(kept_s=DISK_WITHIN_S))
        self._collect(connection)

    def _send(self, connection: MqttConnection) -> None:
        while len(self._on_way) < connection.window and (message := self._outgoing.read()) is not None:
            number = connection.publish(message.kind, message.body)
            if number:
                self._on_way[number] = message
            else:
                self._refuse(message, "it is larger than the broker takes")

    def _collect(self, connection: MqttConnection) -> bool:
        """Take note of what the broker has taken or refused; whether there was any."""
        found = bool(connection.acknowledged or connection.refused)
        for number in connection.acknowledged:
            if (message := self._on_way.pop(number, None)) is not None:
                self._outgoing.delivered(message)
        for number, reason in connection.refused:
            if (message := self._on_way.pop(number, None)) is not None:
                self._refuse(message, reason)
        connection.acknowledged.clear()
        connection.refused.clear()
        return found

    def _refuse(self, message: Message, reason: str) -> None:
        self._outgoing.refuse(message)
        if not self._refusal_told:
            logger.error(
                "%s: the broker refuses a message of %d bytes for /%s: %s; it is dropped and counted, as will be others "
                "like it. Check the rights of the user on the broker",
                self._settings.name,
                len(message.body),
                message.kind,
                reason,
            )
        self._refusal_told = True

    def _drain_wake(self) -> None:
        try:
            os.read(self._wake_reader, 65536)
        except BlockingIOError:
            return
