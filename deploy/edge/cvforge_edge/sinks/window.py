"""The annotated pictures in a window, as they come."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

import cv2

from cvforge_edge.errors import UsageError
from cvforge_edge.frame import Result

QUIT_KEYS = (ord("q"), 27)
"""q and Escape."""


class Window:
    """Shows the newest annotated picture; q, Escape or closing the window ends the run."""

    def __init__(self, title: str, *, on_quit: Callable[[], None]) -> None:
        """Open the window.

        Args:
            title: text of its title bar.
            on_quit: called when the user wants to end.

        Raises:
            UsageError: this machine or this build of OpenCV cannot show windows.
        """
        # Asked before OpenCV: its Qt ends the whole process where there is no display.
        if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
            raise UsageError(
                "--show: no display (DISPLAY is not set); run it on the device's desktop, or use --save out.mp4 instead"
            )
        try:
            cv2.namedWindow(title, cv2.WINDOW_NORMAL)
        except cv2.error as error:
            raise UsageError(
                "--show: this OpenCV was built without windows; use --save out.mp4 instead, or exchange the package: "
                "pip uninstall opencv-python-headless, then pip install opencv-python"
            ) from error
        self._title, self._on_quit, self._count, self._open = title, on_quit, 0, True

    def write(self, result: Result) -> None:
        """Show one picture."""
        if not self._open:
            return
        if self._count == 0:
            height, width = result.annotated_bgr.shape[:2]
            cv2.resizeWindow(self._title, width, height)
        cv2.imshow(self._title, result.annotated_bgr)
        self._count += 1
        self._hear()

    def tend(self) -> None:
        """Hear keys and the cross also while the camera gives nothing; without it the window would freeze."""
        if self._open:
            self._hear()

    def close(self) -> None:
        """Close the window; may be called twice."""
        if self._open:
            self._open = False
            cv2.destroyAllWindows()

    def summary(self) -> str:
        """How many pictures were shown."""
        return f"window: {self._count} pictures"

    def _hear(self) -> None:
        key = cv2.waitKey(1) & 0xFF
        if key in QUIT_KEYS or cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) < 1:
            self.close()
            self._on_quit()
