"""Cameras at this machine by way of the system: V4L2 on Linux, by number or device file."""

from __future__ import annotations

import logging
import sys

import cv2

from cvforge_edge.errors import SourceError
from cvforge_edge.sources.capture import Capture, OpenCapture
from cvforge_edge.sources.settings import CameraRequest

logger = logging.getLogger(__name__)


def device_opener(text: str, *, name: str, request: CameraRequest) -> OpenCapture:
    """What opens a camera of this machine.

    Args:
        text: number or device file.
        name: what it is called in messages.
        request: what the camera is asked for; what it gives instead is a warning.
    """

    def open_device() -> Capture:
        capture = _open(int(text) if text.isdecimal() else text, name=name)
        if capture is None:
            raise SourceError(
                f"{name}: no connection to camera {text}; check that it is plugged in (ls /dev/video*), that no other "
                "program uses it, and that this user may (group 'video')"
            )
        _ask(capture, request, name=name)
        return capture

    return open_device


def _open(camera: int | str, *, name: str) -> cv2.VideoCapture | None:
    """By way of V4L2, since an OpenCV with GStreamer would take that first, which heeds neither format nor queue length."""
    if sys.platform == "linux" and cv2.videoio_registry.hasBackend(cv2.CAP_V4L2):
        capture = cv2.VideoCapture(camera, cv2.CAP_V4L2)
        if capture.isOpened():
            return capture
        capture.release()
    capture = cv2.VideoCapture(camera)
    if not capture.isOpened():
        capture.release()
        return None
    if sys.platform == "linux":
        logger.warning(
            "%s: V4L2 cannot open this camera, %s can: its pictures may be old, and --camera-size, --camera-fps and "
            "--camera-format may have no effect",
            name,
            capture.getBackendName(),
        )
    return capture


def _ask(capture: cv2.VideoCapture, request: CameraRequest, *, name: str) -> None:
    capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # a driver's queue would hand out old frames
    if request.fourcc is not None:  # first: it decides which sizes and rates there are
        capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*request.fourcc))
    if request.size_hw is not None:
        capture.set(cv2.CAP_PROP_FRAME_WIDTH, request.size_hw[1])
        capture.set(cv2.CAP_PROP_FRAME_HEIGHT, request.size_hw[0])
    if request.fps is not None:
        capture.set(cv2.CAP_PROP_FPS, request.fps)
    for what, asked, found in _answers(capture, request):
        if asked is not None and asked != found:
            logger.warning("%s: asked for %s %s, the camera gives %s", name, what, asked, found)


def _answers(capture: cv2.VideoCapture, request: CameraRequest) -> list[tuple[str, str | None, str]]:
    """What was asked for and what the camera says that it gives, as text."""
    code = round(capture.get(cv2.CAP_PROP_FOURCC))
    width, height = (round(capture.get(side)) for side in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
    size = None if request.size_hw is None else f"{request.size_hw[1]}x{request.size_hw[0]}"
    fps = None if request.fps is None else f"{request.fps:g}"
    return [
        ("format", request.fourcc, code.to_bytes(4, "little", signed=code < 0).decode("latin-1").rstrip("\0")),
        ("size", size, f"{width}x{height}"),
        ("frames/s", fps, f"{capture.get(cv2.CAP_PROP_FPS):g}"),
    ]
