"""The annotated pictures as a video file that ordinary players open."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from cvforge_edge.errors import StorageError
from cvforge_edge.frame import Result
from cvforge_edge.sinks.rotation import Rotation, numbered_before_suffix, set_aside

if TYPE_CHECKING:
    from cvforge_edge.draw import ImageU8

VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".avi", ".mkv")
CODEC = "mp4v"
DEFAULT_FPS = 10.0
"""Of a source that states none, such as a folder of images."""
LONGEST_PAUSE_S = 2.0
"""A camera's silence is shown as a still picture of at most this length."""
CHECK_EVERY_FRAMES = 25
MIN_FREE_BYTES = 16 * 1024 * 1024
"""The index of a video is written last; without room for it the whole file would be lost."""


class VideoSink:
    """Writes annotated frames at a constant rate; a camera's frames are repeated or left out to keep true time."""

    def __init__(self, path: Path, *, fps: float | None, rotation: Rotation | None = None) -> None:
        """Name the file; it is created, or replaced, with the first frame, whose size it takes.

        Args:
            path: the video, ending in one of `VIDEO_SUFFIXES`.
            fps: frames a second as the source states it, or None.
            rotation: when the file is set aside as `NAME.1.mp4` and a new one begun, which is also done with a file
                that is there already. None lets it grow, and with it the index that the writer holds in memory: 75
                bytes a frame, 8 MB an hour at 30 frames/s.

        Raises:
            StorageError: the folder of the file does not exist.
        """
        if not path.parent.is_dir():
            raise StorageError(f"{path}: the folder {path.parent} does not exist; create it, or save elsewhere")
        self._path, self._rotation = path, rotation
        self._fps = fps or DEFAULT_FPS
        self._writer: Any = None
        self._size_hw = (0, 0)
        self._count = self._count_before = 0
        self._time_shift_s = 0.0

    def write(self, result: Result) -> None:
        """Add one frame; a picture of another size than the first is fitted into it.

        Raises:
            StorageError: the file cannot be created, the disk is nearly full, or a full file cannot be set aside.
        """
        image = result.annotated_bgr
        if self._writer is None:
            self._open(image)
        copies = 1 if result.frame.unix_time_s is None else self._copies_for_true_time(result.frame.time_s)
        for _ in range(copies):
            if self._count % CHECK_EVERY_FRAMES == 0:
                self._check_disk()
                if self._is_full():
                    self.close()
                    self._open(image)
            self._writer.write(_fit(image, self._size_hw))
            self._count += 1

    def close(self) -> None:
        """Finish the file and check that it holds every frame; may be called twice.

        Raises:
            StorageError: the file does not hold every frame.
        """
        if self._writer is None:
            return
        self._writer.release()
        self._writer = None
        written, found = self._count - self._count_before, _stored_frames(self._path)
        if found != written:
            raise StorageError(
                f"{self._path}: {written} frames were written but the file holds {found}; the disk may be full or "
                "the file system's limit reached. Free space, or save elsewhere"
            )

    def summary(self) -> str:
        """Where the video is, and its size."""
        height, width = self._size_hw
        return f"{self._path}: {self._count} frames, {width}x{height}, {self._fps:g} frames/s"

    def _open(self, image: ImageU8) -> None:
        if self._rotation is not None:
            self._set_aside(self._rotation)
        self._count_before = self._count
        self._size_hw = (image.shape[0], image.shape[1])
        writer = cv2.VideoWriter(
            str(self._path), cv2.VideoWriter.fourcc(*CODEC), self._fps, (image.shape[1], image.shape[0])
        )
        if not writer.isOpened():
            writer.release()
            raise StorageError(
                f"{self._path}: OpenCV cannot create this video (codec {CODEC}, {image.shape[1]}x{image.shape[0]}); "
                f"check that the folder may be written to and that the name ends in one of {', '.join(VIDEO_SUFFIXES)}"
            )
        self._writer = writer

    def _copies_for_true_time(self, time_s: float) -> int:
        """How often a camera's frame is written so that the video plays as fast as the world went."""
        if self._count == 0:
            self._time_shift_s = time_s
        due = round((time_s - self._time_shift_s) * self._fps) + 1
        longest = max(1, round(LONGEST_PAUSE_S * self._fps))
        if due - self._count > longest:
            self._time_shift_s += (due - self._count - longest) / self._fps
            return longest
        return max(0, due - self._count)

    def _is_full(self) -> bool:
        return (
            self._rotation is not None
            and self._count > self._count_before
            and self._path.stat().st_size >= self._rotation.limit_bytes
        )

    def _set_aside(self, rotation: Rotation) -> None:
        try:
            set_aside(self._path, keep=rotation.keep, numbered=numbered_before_suffix)
        except OSError as error:
            raise StorageError(
                f"{self._path}: cannot be set aside ({error.strerror}); check that its folder may be written to"
            ) from error

    def _check_disk(self) -> None:
        free = shutil.disk_usage(self._path.parent).free
        if free < MIN_FREE_BYTES:
            raise StorageError(
                f"{self._path}: stopped after {self._count} frames, only {free // 1024**2} MB are free on the disk; "
                "the video up to here is complete. Free space, or save elsewhere"
            )


def _fit(image: ImageU8, size_hw: tuple[int, int]) -> ImageU8:
    """The picture inside a frame of this size, proportions kept, on black."""
    if image.shape[:2] == size_hw:
        return image
    scale = min(size_hw[0] / image.shape[0], size_hw[1] / image.shape[1])
    height, width = (max(1, round(side * scale)) for side in image.shape[:2])
    framed = np.zeros((*size_hw, 3), np.uint8)
    top, left = (size_hw[0] - height) // 2, (size_hw[1] - width) // 2
    framed[top : top + height, left : left + width] = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    return framed


def _stored_frames(path: Path) -> int:
    capture = cv2.VideoCapture(str(path))
    try:
        return max(0, round(capture.get(cv2.CAP_PROP_FRAME_COUNT))) if capture.isOpened() else 0
    finally:
        capture.release()
