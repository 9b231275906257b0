"""A process of its own that sends numbered results to a broker on loopback, until it is killed."""

from __future__ import annotations

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "deploy" / "edge"))

import numpy as np

from cvforge_edge.frame import Frame, Result
from cvforge_edge.sinks.content import Content
from cvforge_edge.sinks.mqtt import Mqtt
from cvforge_edge.sinks.mqtt_settings import MqttSettings
from cvforge_edge.sinks.outgoing import OutgoingSpec
from cvforge_edge.types import Detections


def main(port: int, folder: Path) -> None:
    """Send results; each is announced on standard output once `write` has returned."""
    spec = OutgoingSpec(Content.RESULTS, folder, limit_bytes=16_000_000)
    sink = Mqtt(MqttSettings("127.0.0.1", port, "site/gate"), spec)
    image = np.zeros((8, 8, 3), np.uint8)
    for index in range(1_000_000):
        frame = Frame(image, index, index / 10, None, "clip.mp4", time.monotonic())
        sink.write(Result(frame, Detections.empty(), ("red",)))
        sys.stdout.write(f"{index}\n")
        sys.stdout.flush()
        time.sleep(0.002)


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
