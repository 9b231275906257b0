"""A video file: every frame, in order."""

from __future__ import annotations

import logging
import math
import time
from pathlib import Path
from typing import Any

import cv2

from cvforge_edge.errors import SourceError
from cvforge_edge.frame import Frame
from cvforge_edge.sources.cadence import Cadence, FrameGate

logger = logging.getLogger(__name__)

MISSING_FRAMES_TOLERANCE = 0.02
"""Share of the stated frames that may be absent before a warning: many containers only estimate their count."""
ONE_THREAD_PIXELS = 1920 * 1080
"""Up to this size one thread decodes faster than a network runs, and with a third less work than several (1.2 -> 0.8 ms a
frame of 768x432, H.264): the other cores are for the network."""


class VideoFile:
    """Frames of a clip, decoded one after the other when they are asked for."""

    live = False
    dropped = 0

    def __init__(self, path: Path, *, name: str | None = None, cadence: Cadence | None = None) -> None:
        """Open the clip.

        Args:
            path: of the clip.
            name: what it is called in results; None for its path.
            cadence: which frames are wanted; None for all.

        Raises:
            SourceError: the file cannot be opened as a video.
        """
        self.name, self.path = name or str(path), path
        self.ended = False
        cadence = cadence or Cadence()
        self._index, self._gate = 0, FrameGate(cadence)
        self._capture: Any = _open_capture(str(path))
        if not self._capture.isOpened():
            self._capture.release()
            raise SourceError(
                f"{path}: found {path.stat().st_size} bytes that OpenCV cannot open as a video; the file may be cut "
                "off or no video at all. Accepted: MP4, MOV, MKV, AVI or WebM with H.264, MPEG-4, VP8/VP9 or MJPEG. "
                "Play the file, or convert it: ffmpeg -i IN -c:v mpeg4 OUT.mp4"
            )
        self._file_fps = _positive(self._capture.get(cv2.CAP_PROP_FPS))
        count = _positive(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self._file_count = None if count is None else round(count)
        self.fps = cadence.fps(self._file_fps)
        self.frame_count = cadence.frame_count(self._file_count, self._file_fps)

    def read(self, *, timeout_s: float) -> Frame | None:
        """The next frame, or None at the end; a file never waits, so `timeout_s` has no effect.

        Raises:
            SourceError: the file opens but holds no frame that can be decoded.
        """
        while not self.ended:
            begun_s = time.monotonic()
            if not self._capture.grab():
                break
            index, time_s = self._index, self._time_s()
            self._index += 1
            if not self._gate.wants(index, time_s):
                continue
            decoded, image = self._capture.retrieve()
            if not decoded:
                self._index -= 1
                break
            ended_s = time.monotonic()
            return Frame(image, index, time_s, None, self.name, ended_s, ended_s - begun_s)
        if not self.ended:
            self.ended = True
            self._check_complete()
        return None

    def close(self) -> None:
        """Release the file; may be called twice."""
        self.ended = True
        self._capture.release()

    def __enter__(self) -> VideoFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _time_s(self) -> float:
        position_s = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        if self._index > 0 and position_s <= 0:  # the container has no time stamps
            return self._index / (self._file_fps or 1.0)
        return float(position_s)

    def _check_complete(self) -> None:
        if self._index == 0:
            raise SourceError(
                f"{self.name}: opens as a video but no frame can be decoded; the file is damaged or its codec is not "
                "in this build of OpenCV. Convert it: ffmpeg -i IN -c:v mpeg4 OUT.mp4"
            )
        if self._file_count is not None and self._index < self._file_count * (1 - MISSING_FRAMES_TOLERANCE) - 1:
            logger.warning(
                "%s: %d of the %d frames that its header states were decoded; the file may be cut off or damaged",
                self.name,
                self._index,
                self._file_count,
            )


def _positive(value: float) -> float | None:
    return value if math.isfinite(value) and value > 0 else None


def _open_capture(name: str) -> Any:
    capture = cv2.VideoCapture(name, cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    pixels = capture.get(cv2.CAP_PROP_FRAME_WIDTH) * capture.get(cv2.CAP_PROP_FRAME_HEIGHT) if capture.isOpened() else 0
    if 0 < pixels <= ONE_THREAD_PIXELS:
        return capture
    capture.release()  # large, or a build of OpenCV that reads files by other means
    return cv2.VideoCapture(name)
