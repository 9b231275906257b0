"""A real MQTT broker (mosquitto) on loopback that tests start and kill, and a subscriber that remembers all it gets."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

MOSQUITTO = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin:/opt/homebrew/sbin")
WAIT_S = 60.0

needs_mosquitto = pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed (apt-get install mosquitto)")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(condition: Callable[[], bool], what: str) -> None:
    """Return as soon as a condition holds; a test that waits in vain says for what."""
    deadline_s, pause = time.monotonic() + WAIT_S, threading.Event()
    while not condition():
        assert time.monotonic() < deadline_s, f"waited {WAIT_S:g} s in vain: {what}"
        pause.wait(0.01)


class Broker:
    """mosquitto with a persistent store, so that what it has acknowledged outlasts an orderly restart of its own."""

    def __init__(self, folder: Path, *lines: str, port: int | None = None) -> None:
        folder.mkdir(exist_ok=True)
        self.port = port or free_port()
        self._config = folder / "mosquitto.conf"
        access = [] if any("password_file" in line for line in lines) else ["allow_anonymous true"]
        basics = [
            f"listener {self.port} 127.0.0.1",
            "user root",
            "persistence true",
            f"persistence_location {folder}/",
            "max_queued_messages 100000",  # 0 (no limit) breaks the refusal of messages in mosquitto 2.0.11
            "max_inflight_messages 0",
        ]
        self._config.write_text("\n".join([*basics, *access, *lines]) + "\n")
        self._log = folder / "mosquitto.log"
        self.process: subprocess.Popen | None = None
        self.start()

    def start(self) -> None:
        with self._log.open("ab") as log:
            self.process = subprocess.Popen([MOSQUITTO, "-c", str(self._config)], stdout=log, stderr=log)
        wait_for(self._listens, f"mosquitto listens; it said: {self._log.read_text()}")

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End it, by default in the order in which it writes its store."""
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait(WAIT_S)
            self.process = None

    def freeze(self) -> None:
        """From now on it takes what the network brings, and does nothing with it."""
        self.process.send_signal(signal.SIGSTOP)

    def save(self) -> None:
        """Make it write its store now: after that it knows its subscribers even when it is killed."""
        store = self._config.with_name("mosquitto.db")
        self.process.send_signal(signal.SIGUSR1)
        wait_for(store.exists, "mosquitto writes its store")

    def _listens(self) -> bool:
        assert self.process.poll() is None, self._log.read_text()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


class Subscriber:
    """Gets what is published, with a session that the broker keeps while it is away."""

    def __init__(self, port: int, topic: str = "#", *, user: str | None = None, password: str | None = None) -> None:
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion

        self.messages: list[tuple[str, bytes, bool]] = []
        self.online = threading.Event()
        self._topic = topic
        self._client = Client(CallbackAPIVersion.VERSION2, client_id="test-subscriber", clean_session=False)
        self._client.reconnect_delay_set(1, 1)
        self._client.on_connect, self._client.on_disconnect = self._connected, self._lost
        self._client.on_subscribe = lambda *_: self.online.set()
        self._client.on_message = lambda _client, _data, message: self.messages.append(
            (message.topic, message.payload, message.retain)
        )
        if user is not None:
            self._client.username_pw_set(user, password)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        assert self.online.wait(WAIT_S)

    def of(self, topic: str) -> list:
        """The JSON objects that came under a topic."""
        return [json.loads(body) for name, body, _ in list(self.messages) if name == topic]

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _connected(self, client, *_):
        client.subscribe(self._topic, qos=1)

    def _lost(self, *_):
        self.online.clear()


def without_duplicates(messages: list[dict]) -> list[tuple[str, int]]:
    """What a receiver makes of messages by the rule in docs/outputs.md: (run, seq), each once, as they came."""
    newest: dict[str, int] = {}
    kept = []
    for message in messages:
        if message["seq"] > newest.get(message["run"], 0):
            newest[message["run"]] = message["seq"]
            kept.append((message["run"], message["seq"]))
    return kept
