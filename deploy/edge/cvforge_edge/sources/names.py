"""By what the text of a source tells what kind it is."""

from __future__ import annotations

import re

STREAM_SCHEMES = ("rtsp", "rtsps", "rtmp", "http", "https", "udp", "tcp")
PICAMERA = re.compile(r"picamera(?::(\d+))?")
GSTREAMER_PREFIX = "gst:"
PATTERN_PREFIX = "test:"
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
