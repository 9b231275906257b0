"""GStreamer pipelines, where OpenCV was built with GStreamer: hardware decoders of Jetson, i.MX and others."""

from __future__ import annotations

import cv2

from cvforge_edge.address_secrets import pipeline_without_secrets
from cvforge_edge.errors import SourceError
from cvforge_edge.sources.capture import Capture, OpenCapture

SINK = "videoconvert ! video/x-raw,format=BGR ! appsink drop=true max-buffers=1 sync=false"


def gstreamer_opener(text: str, *, name: str) -> OpenCapture:
    """What starts a pipeline.

    Args:
        text: the pipeline as for gst-launch-1.0; without an `appsink` of its own it gets one that keeps the newest picture.
        name: what it is called in messages.

    Raises:
        SourceError: this build of OpenCV has no GStreamer, or there is no pipeline.
    """
    pipeline = text.strip().rstrip("!").strip()
    if not pipeline:
        raise SourceError(f"{name}: no pipeline; accepted: gst:v4l2src ! videoconvert (as for gst-launch-1.0)")
    if not has_gstreamer():
        raise SourceError(
            f"{name}: this OpenCV ({cv2.__version__}) was built without GStreamer, as all packages opencv-python from "
            "pip are. The system's package has it (Debian, Raspberry Pi OS, JetPack): apt install python3-opencv, then "
            "python3 -m venv --system-site-packages .venv and no opencv-python in it. An rtsp:// address needs no GStreamer"
        )
    if "appsink" not in pipeline:
        pipeline = f"{pipeline} ! {SINK}"

    def start_pipeline() -> Capture:
        capture = cv2.VideoCapture(pipeline, cv2.CAP_GSTREAMER)
        if not capture.isOpened():
            capture.release()
            raise SourceError(
                f"{name}: GStreamer cannot start this pipeline; try it without OpenCV: gst-launch-1.0 "
                f"{pipeline_without_secrets(text.strip())} ! fakesink"
            )
        return capture

    return start_pipeline


def has_gstreamer() -> bool:
    """Whether this build of OpenCV can run GStreamer pipelines."""
    return bool(cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER))
