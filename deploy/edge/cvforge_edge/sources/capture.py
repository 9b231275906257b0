"""What gives pictures of a camera one after the other: OpenCV's VideoCapture, or anything that behaves like it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol


class Capture(Protocol):
    """The part of `cv2.VideoCapture` that a live source uses; only one thread calls it."""

    def grab(self) -> bool:
        """Wait for the next picture; False when the connection is gone."""

    def retrieve(self) -> tuple[bool, Any]:
        """Whether the grabbed picture is there, and the picture: (h, w, 3) uint8 BGR, an array of its own."""

    def get(self, property_id: int) -> float:
        """The frame rate (`cv2.CAP_PROP_FPS`), 0 when unknown."""

    def release(self) -> None:
        """Give the camera back."""


OpenCapture = Callable[[], Capture]
"""Connects; raises SourceError, with the reason and what to do, where that fails."""
