"""A generated picture that moves: for trying everything out without a camera, and the same on every machine."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from cvforge_edge.errors import SourceError
from cvforge_edge.frame import Frame
from cvforge_edge.records import dataclass
from cvforge_edge.sources.cadence import Cadence, FrameGate
from cvforge_edge.sources.capture import OpenCapture
from cvforge_edge.sources.names import PATTERN_PREFIX

if TYPE_CHECKING:
    from cvforge_edge.draw import ImageU8

ACCEPTED = (
    "accepted: test:, test:640x480, test:640x480@30 (as a camera), test:640x480@max (every picture, as fast as it can)"
)
SIZE_HW, FPS = (480, 640), 30
LARGEST_SIDE, LARGEST_FPS = 7680, 1000
BACKGROUND_BGR, TEXT_BGR = (64, 56, 48), (255, 255, 255)
SHAPES = (("square", (60, 60, 230), 0.9), ("circle", (80, 200, 80), 1.7), ("square", (230, 140, 60), 2.3))
"""Each shape's kind, colour, and how many picture widths it travels in ten seconds."""
_SPEC = re.compile(r"(?:(\d{2,4})x(\d{2,4}))?(?:@(\d{1,4}|max))?")


@dataclass(frozen=True)
class PatternSpec:
    """What `test:...` asks for.

    Attributes:
        size_hw: of the pictures.
        fps: pictures a second of the pattern's own time.
        paced: whether they come at this rate, as from a camera, or as fast as they are taken.
    """

    size_hw: tuple[int, int]
    fps: int
    paced: bool


def parse_pattern(text: str) -> PatternSpec:
    """What the text after `test:` says.

    Raises:
        SourceError: it is no size and rate.
    """
    found = _SPEC.fullmatch(text)
    if found is None:
        raise SourceError(f"{PATTERN_PREFIX}{text}: no test pattern; {ACCEPTED}")
    width, height, rate = found.groups()
    size_hw = SIZE_HW if width is None else (int(height), int(width))
    fps = FPS if rate in (None, "max") else int(rate)
    if not (all(16 <= side <= LARGEST_SIDE for side in size_hw) and 1 <= fps <= LARGEST_FPS):
        raise SourceError(
            f"{PATTERN_PREFIX}{text}: sides from 16 to {LARGEST_SIDE} and 1 to {LARGEST_FPS} frames/s; {ACCEPTED}"
        )
    return PatternSpec(size_hw, fps, paced=rate != "max")


def pattern_image(index: int, *, size_hw: tuple[int, int], fps: int) -> ImageU8:
    """Picture number `index`: shapes that move from left to right, the number, and the pattern's own time.

    Args:
        index: number of the picture, from 0.
        size_hw: height and width in pixels.
        fps: pictures a second.

    Returns:
        (h, w, 3) uint8 BGR; the same for the same arguments.
    """
    height, width = size_hw
    image = np.full((height, width, 3), BACKGROUND_BGR, np.uint8)
    side = max(4, height // 6)
    for row, (kind, colour, widths_in_ten_s) in enumerate(SHAPES):
        left = round(index * widths_in_ten_s * width / (10 * fps)) % (width + side) - side
        top = (2 * row + 1) * height // 7
        if kind == "square":
            cv2.rectangle(image, (left, top), (left + side - 1, top + side - 1), colour, -1)
        else:
            cv2.circle(image, (left + side // 2, top + side // 2), side // 2, colour, -1)
    scale = height / 480
    text = f"{index:06d}  {index / fps:9.3f} s"
    cv2.putText(image, text, (round(8 * scale), round(28 * scale)), cv2.FONT_HERSHEY_SIMPLEX, 0.8 * scale, TEXT_BGR, 1)
    return image


class PatternCapture:
    """The pattern as a camera: a picture is there when its time has come, and late readers miss some."""

    def __init__(self, spec: PatternSpec) -> None:
        self._spec = spec
        self._begun_s = time.monotonic()
        self._index = -1

    def grab(self) -> bool:
        """Wait for the next picture."""
        now = (time.monotonic() - self._begun_s) * self._spec.fps
        self._index = max(self._index + 1, int(now))
        time.sleep(max(0.0, self._begun_s + self._index / self._spec.fps - time.monotonic()))
        return True

    def retrieve(self) -> tuple[bool, Any]:
        """The picture."""
        return True, pattern_image(self._index, size_hw=self._spec.size_hw, fps=self._spec.fps)

    def get(self, property_id: int) -> float:
        """The frame rate."""
        return float(self._spec.fps) if property_id == cv2.CAP_PROP_FPS else 0.0

    def release(self) -> None:
        """Nothing is held."""


def pattern_opener(spec: PatternSpec) -> OpenCapture:
    """What starts the pattern as a camera."""
    return lambda: PatternCapture(spec)


class PatternSequence:
    """The pattern as a file without end: every picture, as fast as somebody takes them."""

    live = False
    dropped = 0
    frame_count = None

    def __init__(self, spec: PatternSpec, *, name: str, cadence: Cadence) -> None:
        self.name = name
        self.ended = False
        self.fps = cadence.fps(float(spec.fps))
        self._spec, self._gate = spec, FrameGate(cadence)
        self._index = 0

    def read(self, *, timeout_s: float) -> Frame | None:
        """The next picture that is wanted; it never waits."""
        while not self.ended:
            index, time_s = self._index, self._index / self._spec.fps
            self._index += 1
            if self._gate.wants(index, time_s):
                image_bgr = pattern_image(index, size_hw=self._spec.size_hw, fps=self._spec.fps)
                return Frame(image_bgr, index, time_s, None, self.name, time.monotonic())
        return None

    def close(self) -> None:
        """No further picture."""
        self.ended = True

    def __enter__(self) -> PatternSequence:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
