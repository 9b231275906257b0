"""A run to look at: a generated street with moving boxes, as cameras whose state can be chosen, through the real pipeline."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace

import cv2
import numpy as np

from cvforge_edge.events import Event
from cvforge_edge.frame import Frame, Result
from cvforge_edge.types import Detections

LABELS = ("car", "person")
SIZE_HW = (360, 640)


class SceneCamera:
    """A camera at its own pace; while `state` is not `live` it gives nothing.

    Args:
        name: of the camera.
        fps: frames a second.
        seed: of the scene.
    """

    live, frame_count = True, None

    def __init__(self, name: str, *, fps: float = 15.0, seed: int = 0) -> None:
        self.name, self.fps, self.seed = name, fps, seed
        self.dropped = self.reconnects = 0
        self.state, self.ended = "live", False
        self._begun_s = self._next_s = time.monotonic()
        self._index = 0

    def read(self, *, timeout_s: float) -> Frame | None:
        """The next frame when its time has come."""
        wait_s = self._next_s - time.monotonic()
        if self.state != "live" or wait_s > timeout_s:
            time.sleep(timeout_s)
            return None
        time.sleep(max(0.0, wait_s))
        now_s = time.monotonic()
        self._next_s = max(self._next_s + 1 / self.fps, now_s)
        self._index += 1
        image = street(now_s - self._begun_s, seed=self.seed)
        return Frame(image, self._index, now_s - self._begun_s, time.time(), self.name, now_s)

    def close(self) -> None:
        """No further frame comes."""
        self.ended = True

    def __enter__(self) -> SceneCamera:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class ScenePredictor:
    """Finds the things of the scene by their colours, and takes as long as it is told.

    Args:
        seconds: a prediction takes.
    """

    manifest, times = SimpleNamespace(labels=LABELS), None

    def __init__(self, *, seconds: float = 0.012) -> None:
        self.seconds = seconds

    def predict(self, image_bgr: np.ndarray) -> Detections:
        """Boxes around what has the colours of cars and persons."""
        time.sleep(self.seconds)
        boxes, classes = [], []
        for class_id, colour in enumerate(COLOURS):
            mask = cv2.inRange(image_bgr, np.array(colour) - 6, np.array(colour) + 6)
            count, _, stats, _ = cv2.connectedComponentsWithStats(mask)
            for left, top, width, height, area in stats[1:count]:
                if area > 300:
                    boxes.append((left, top, left + width, top + height))
                    classes.append(class_id)
        scores = np.linspace(0.94, 0.71, len(boxes), dtype=np.float32) if boxes else np.zeros(0, np.float32)
        return Detections(np.array(boxes, np.float32).reshape(-1, 4), scores, np.array(classes, np.int64))


class SceneRules:
    """Tells of a line that is crossed, every few seconds.

    Args:
        every: frames from event to event.
    """

    def __init__(self, *, every: int = 40) -> None:
        self.every, self.count = every, 0

    def apply(self, result: Result) -> Result:
        """The result, now and then with an event."""
        import dataclasses

        if result.frame.index % self.every:
            return result
        self.count += 1
        kind, label, value = (("line_crossed", "car", 1.0), ("zone_entered", "person", None))[self.count % 2]
        frame = result.frame
        event = Event(
            "gate" if label == "car" else "pavement",
            kind,
            frame.source,
            frame.index,
            frame.time_s,
            frame.unix_time_s,
            label,
            self.count,
            value,
        )
        return dataclasses.replace(result, events=(event,))


COLOURS = ((180, 90, 40), (60, 60, 200))
"""Blue, green, red of cars and persons."""


def street(seconds: float, *, seed: int) -> np.ndarray:
    """A picture of the scene at a moment, (360, 640, 3) uint8 BGR."""
    height, width = SIZE_HW
    image = np.empty((height, width, 3), np.uint8)
    image[:] = np.linspace(215, 150, height)[:, None, None].astype(np.uint8)
    image[200:330] = (96, 92, 90)
    for left in range(int(-seconds * 40) % 80 - 80, width, 80):
        cv2.rectangle(image, (left, 262), (left + 40, 267), (210, 214, 216), -1)
    for house in range(5):
        left, top = house * 140 - 30 + 20 * seed, 60 + 25 * ((house + seed) % 3)
        cv2.rectangle(image, (left, top), (left + 110, 200), (150, 160 + 10 * (house % 3), 175), -1)
        for row in range(top + 15, 185, 32):
            for column in range(left + 12, left + 100, 30):
                cv2.rectangle(image, (column, row), (column + 14, row + 16), (120, 116, 110), -1)
    for car in range(2):
        left = int((seconds * (70 + 25 * car) + 300 * car + 150 * seed) % (width + 160)) - 140
        top = 212 + 62 * car
        cv2.rectangle(image, (left, top + 14), (left + 118, top + 44), COLOURS[0], -1)
        cv2.rectangle(image, (left + 24, top), (left + 88, top + 14), COLOURS[0], -1)
        for wheel in (left + 24, left + 94):
            cv2.circle(image, (wheel, top + 44), 9, (30, 30, 30), -1)
    left = int(width - (seconds * 32 + 90 * seed) % (width + 60))
    cv2.rectangle(image, (left, 290), (left + 18, 344), COLOURS[1], -1)
    cv2.circle(image, (left + 9, 282), 9, COLOURS[1], -1)
    return image


def run_scene(cameras: list[SceneCamera], sinks: list, *, board, stop: threading.Event, predictor=None, rules=True):
    """Run the real pipeline over the scene until `stop`; its summary."""
    from cvforge_edge.pipeline import run_pipeline

    steps = [[SceneRules(every=40 + 10 * number)] if rules else [] for number in range(len(cameras))]
    return run_pipeline(cameras, [predictor or ScenePredictor()], sinks=sinks, stop=stop, steps=steps, board=board)
