"""The newest annotated picture of each camera as JPEG: made only while somebody looks, once for all who look."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import cv2

from cvforge_edge.errors import EdgeError
from cvforge_edge.frame import Result, draw_result
from cvforge_edge.records import dataclass

if TYPE_CHECKING:
    from cvforge_edge.draw import ImageU8

PICTURES_PER_S = 15.0
"""At most: fluent to the eye, and a bound for what looking costs the model."""
LONGEST_SIDE = 1280
"""In pixels; larger pictures are sent smaller."""
JPEG_QUALITY = 80


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture that is ready to be sent.

    Attributes:
        number: grows with each result of its camera, from 1.
        jpeg: the file.
        captured_s: `time.monotonic()` when it was taken.
    """

    number: int
    jpeg: bytes
    captured_s: float


class Pictures:
    """Takes results of one camera from the pipeline and gives pictures to any number of viewers.

    Args:
        encoding: held while a picture is drawn and compressed; shared by all cameras, so that viewers never take
            more than one core from the model.
    """

    def __init__(self, encoding: threading.Lock) -> None:
        self._encoding = encoding
        self._news = threading.Condition()
        self._result: Result | None = None
        self._number = 0
        self._picture: Picture | None = None
        self._next_s = 0.0
        self._closed = False
        self.encoded = 0

    @property
    def closed(self) -> bool:
        """Whether no further picture comes."""
        with self._news:
            return self._closed

    def offer(self, result: Result) -> None:
        """Take a result in place of the one before; returns at once."""
        with self._news:
            self._result = result
            self._number += 1
            self._news.notify_all()

    def close(self) -> None:
        """Let every viewer go."""
        with self._news:
            self._closed = True
            self._news.notify_all()

    def newest(self, *, after: int | None, timeout_s: float) -> Picture | None:
        """The newest picture, or None when none came in time or the camera is closed.

        Args:
            after: number of the picture that the viewer has; any other is given at once, also one with a smaller number,
                since a program that was started anew counts anew.
            timeout_s: how long to wait.
        """
        deadline_s = time.monotonic() + timeout_s
        while self._wait_for_work(after, deadline_s):
            with self._encoding:
                picture = self._encode_if_due()
            if picture is not None and picture.number != after:
                return picture
        return None

    def _wait_for_work(self, after: int | None, deadline_s: float) -> bool:
        """Whether there is a picture to give or one to make before the deadline."""
        with self._news:
            while not self._closed:
                now_s = time.monotonic()
                if self._picture is not None and self._picture.number not in (after, self._number):
                    return True
                fresh = self._number > 0 and self._number != after
                made = self._picture is not None and self._picture.number == self._number
                if fresh and (made or now_s >= self._next_s):
                    return True
                if now_s >= deadline_s:
                    return False
                self._news.wait(min(deadline_s, self._next_s if fresh else deadline_s) - now_s)
            return False

    def _encode_if_due(self) -> Picture | None:
        """The newest picture that may be given now, made if it is time for a new one."""
        with self._news:
            result, number, now_s = self._result, self._number, time.monotonic()
            made = self._picture is not None and self._picture.number == number
            if result is None or made or now_s < self._next_s:
                return self._picture
            self._next_s = now_s + 1 / PICTURES_PER_S
        picture = Picture(number, encode_jpeg(annotated(result)), result.frame.captured_s)
        with self._news:
            self._picture = picture
            self.encoded += 1
        return picture


def annotated(result: Result) -> ImageU8:
    """The picture as every sink shows it, drawn here unless a sink before this one has drawn it.

    `Result.annotated_bgr` is not asked for: up to Python 3.11 a cached property has one lock for all results, and a
    viewer would hold up the pipeline.
    """
    drawn: ImageU8 | None = vars(result).get("annotated_bgr")
    return draw_result(result) if drawn is None else drawn


def encode_jpeg(image_bgr: ImageU8) -> bytes:
    """A picture as JPEG, fitted into `LONGEST_SIDE`.

    Raises:
        EdgeError: OpenCV cannot encode it.
    """
    height, width = image_bgr.shape[:2]
    scale = LONGEST_SIDE / max(height, width)
    if scale < 1:
        size_wh = (max(1, round(width * scale)), max(1, round(height * scale)))
        image_bgr = cv2.resize(image_bgr, size_wh, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
    encoded, data = cv2.imencode(".jpg", image_bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    if not encoded:
        raise EdgeError(f"a picture of {width} x {height} pixels cannot be encoded as JPEG")
    return data.tobytes()
