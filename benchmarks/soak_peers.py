"""Who is at the other end in `camera_soak.py`: a broker, a subscriber, a receiver of webhooks, a viewer of the page."""

from __future__ import annotations

import contextlib
import http.server
import json
import shutil
import socket
import subprocess
import threading
import time
import urllib.request
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TOPIC = "soak"


def free_port() -> int:
    """A port of loopback that nobody uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Broker:
    """A mosquitto that keeps sessions and waiting messages on its disk."""

    def __init__(self, folder: Path) -> None:
        self.port, self._config = free_port(), folder / "mosquitto.conf"
        self._config.write_text(
            f"listener {self.port} 127.0.0.1\nallow_anonymous true\npersistence true\npersistence_location {folder}/\n"
            "user root\nmax_queued_messages 100000\nmax_inflight_messages 0\n"
        )
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start, and wait until it listens."""
        program = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
        self._process = subprocess.Popen([program, "-c", str(self._config)], stderr=subprocess.DEVNULL)
        for _ in range(100):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 0.2):
                return
            time.sleep(0.1)
        raise RuntimeError("mosquitto does not listen; is it installed?")

    def stop(self) -> None:
        """End it in order: it writes down sessions and waiting messages."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(10)


@dataclass
class Received:
    """What the subscriber got: numbers by topic and run, in the order of their coming."""

    numbers: dict[tuple[str, str], list[int]] = field(default_factory=lambda: defaultdict(list))

    def lost(self) -> int:
        """Numbers that never came, between 1 and the last of each run."""
        return sum(max(seen) - len(set(seen)) for seen in self.numbers.values())

    def disordered(self) -> int:
        """Numbers that came for the first time after a higher one."""
        count = 0
        for seen in self.numbers.values():
            highest, known = 0, set()
            for number in seen:
                count += number not in known and number < highest
                highest = max(highest, number)
                known.add(number)
        return count

    def total(self) -> int:
        """Messages without duplicates."""
        return sum(len(set(seen)) for seen in self.numbers.values())


@contextlib.contextmanager
def subscriber(port: int) -> Iterator[Received]:
    """Listens to results and events with a session that outlives connections."""
    import paho.mqtt.client as mqtt

    received = Received()

    def take(_client: Any, _data: Any, message: Any) -> None:
        if message.topic.endswith("/status"):
            return
        value = json.loads(message.payload)
        received.numbers[message.topic, value["run"]].append(value["seq"])

    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id="soak-subscriber", clean_session=False)
    client.on_message = take
    client.on_connect = lambda client, *_: client.subscribe(f"{TOPIC}/#", qos=1)
    client.reconnect_delay_set(0.2, 0.5)
    client.connect("127.0.0.1", port)
    client.loop_start()
    try:
        yield received
    finally:
        client.disconnect()
        client.loop_stop()


@contextlib.contextmanager
def hook_server() -> Iterator[tuple[int, list[int]]]:
    """Takes webhooks; the list holds how many."""
    count = [0]

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            count[0] += 1
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_address[1], count
    finally:
        server.shutdown()


def watch_page(port: int, stop: threading.Event) -> None:
    """A viewer of the first camera's picture, who comes back when he is sent away."""
    while not stop.is_set():
        with (
            contextlib.suppress(OSError),
            urllib.request.urlopen(f"http://127.0.0.1:{port}/live/0.mjpg", timeout=5) as page,
        ):
            while not stop.is_set() and page.read(16384):
                time.sleep(0.05)
        stop.wait(0.5)
