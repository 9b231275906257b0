"""Cameras of a Raspberry Pi by way of libcamera and its Python library picamera2, a package of Raspberry Pi OS."""

from __future__ import annotations

from typing import Any

import cv2

from cvforge_edge.errors import SourceError
from cvforge_edge.sources.capture import OpenCapture
from cvforge_edge.sources.settings import CameraRequest

SIZE_HW = (480, 640)
FPS = 30.0
PIXEL_FORMAT = "RGB888"
"""libcamera names the bytes from the highest to the lowest: in memory they are blue, green, red, as OpenCV has them."""


class PiCapture:
    """A running camera; behaves like OpenCV's VideoCapture.

    Args:
        camera: a picamera2.Picamera2, started.
        fps: that it was asked for.
    """

    def __init__(self, camera: Any, *, fps: float) -> None:
        self._camera, self._fps = camera, fps
        self._image_bgr: Any = None

    def grab(self) -> bool:
        """Wait for the next picture; False when the camera fails."""
        try:
            self._image_bgr = self._camera.capture_array("main")
        except RuntimeError:  # what picamera2 raises when libcamera has lost the sensor
            return False
        return True

    def retrieve(self) -> tuple[bool, Any]:
        """The picture."""
        image_bgr, self._image_bgr = self._image_bgr, None
        return image_bgr is not None, image_bgr

    def get(self, property_id: int) -> float:
        """The frame rate."""
        return self._fps if property_id == cv2.CAP_PROP_FPS else 0.0

    def release(self) -> None:
        """Give the camera back, so that it can be opened again."""
        self._camera.stop()
        self._camera.close()


def picamera_opener(number: int, *, name: str, request: CameraRequest) -> OpenCapture:
    """What opens a Raspberry Pi camera.

    Args:
        number: among the cameras of the board, from 0.
        name: what it is called in messages.
        request: size and rate; without, 640x480 at 30 frames/s.

    Raises:
        SourceError: picamera2 is not there.
    """
    try:
        from picamera2 import Picamera2
    except ImportError as error:
        raise SourceError(
            f"{name}: Raspberry Pi cameras need picamera2, which this Python does not have ({error}). On Raspberry Pi OS: "
            "sudo apt install python3-picamera2, then python3 -m venv --system-site-packages .venv. A USB camera is "
            "--source 0"
        ) from error
    height, width = request.size_hw or SIZE_HW
    fps = request.fps or FPS

    def open_camera() -> PiCapture:
        camera = None
        try:
            camera = Picamera2(number)
            configuration = camera.create_video_configuration(
                main={"size": (width, height), "format": PIXEL_FORMAT}, controls={"FrameRate": fps}
            )
            camera.configure(configuration)
            camera.start()
        except (IndexError, RuntimeError) as error:
            if camera is not None:
                camera.close()  # else every further attempt finds it busy
            raise SourceError(
                f"{name}: Raspberry Pi camera {number} cannot be opened ({error}); check the ribbon cable and "
                "rpicam-hello --list-cameras, and that no other program uses it"
            ) from error
        return PiCapture(camera, fps=fps)

    return open_camera
