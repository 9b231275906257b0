"""An RTSP camera on loopback, for tests and benchmarks: every picture shows the time at which it was made.

    /usr/bin/python3 benchmarks/rtsp_server.py --port 8554 --codec h264 --size 640x480 --fps 15

Needs Debian's python3-gi, gir1.2-gst-rtsp-server-1.0 and gstreamer1.0-plugins-base, -good, -ugly (and -bad for h265), so
it runs with the system's Python and imports nothing of ours. Prints `ready` once it listens; the stream is /stream.
The time is `time.monotonic_ns()`, which all processes of a machine share, in microseconds, as `CLOCK_BITS` black and
white squares, the highest bit first; `rtsp_lab.shown_clock_s` reads it.
"""

from __future__ import annotations

import argparse
import sys
import time

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402 - versions are chosen before

CLOCK_BITS, BITS_A_ROW, SQUARE = 48, 16, 16
ENCODERS = {
    "h264": "x264enc tune=zerolatency speed-preset=ultrafast bitrate=1500 key-int-max=15 ! rtph264pay config-interval=1",
    "h265": "x265enc tune=zerolatency speed-preset=ultrafast bitrate=1500 key-int-max=15 ! rtph265pay config-interval=1",
    "mjpeg": "jpegenc quality=80 ! rtpjpegpay",
}


class Camera:
    """Feeds pictures into a pipeline, one every 1 / fps seconds, as long as somebody watches."""

    def __init__(self, *, size_hw: tuple[int, int], fps: int) -> None:
        self._height, self._width = size_hw
        self._fps = fps

    def watch(self, _factory: object, media: object) -> None:
        """A client has come: start the clock."""
        source = media.get_element().get_by_name("source")  # type: ignore[attr-defined]
        timer = GLib.timeout_add(round(1000 / self._fps), self._push, source)
        media.connect("unprepared", lambda _media: GLib.source_remove(timer))  # type: ignore[attr-defined]

    def _push(self, source: object) -> bool:
        data = picture(time.monotonic_ns() // 1000, height=self._height, width=self._width)
        source.emit("push-buffer", Gst.Buffer.new_wrapped(data))  # type: ignore[attr-defined]
        return True  # also while the pipeline is about to start and refuses it


def picture(clock_us: int, *, height: int, width: int) -> bytes:
    """A grey picture with the clock in its upper left corner, one byte a pixel."""
    grey, rows = bytes([96]), []
    for top in range(0, CLOCK_BITS, BITS_A_ROW):
        bits = (clock_us >> (CLOCK_BITS - 1 - bit) & 1 for bit in range(top, top + BITS_A_ROW))
        line = b"".join((b"\xeb" if bit else b"\x10") * SQUARE for bit in bits)
        rows.append((line + grey * (width - len(line))) * SQUARE)
    below = height - SQUARE * CLOCK_BITS // BITS_A_ROW
    return b"".join(rows) + grey * (width * below)


def main() -> int:
    """Serve until somebody ends the process."""
    parser = argparse.ArgumentParser(description="An RTSP camera on loopback whose pictures show the time.")
    parser.add_argument("--port", required=True)
    parser.add_argument("--codec", choices=tuple(ENCODERS), default="h264")
    parser.add_argument("--size", default="640x480")
    parser.add_argument("--fps", type=int, default=15)
    options = parser.parse_args()
    width, height = map(int, options.size.split("x"))
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(options.port)
    factory = GstRtspServer.RTSPMediaFactory()
    caps = f"video/x-raw,format=GRAY8,width={width},height={height},framerate={options.fps}/1"
    factory.set_launch(
        f"( appsrc name=source is-live=true do-timestamp=true format=time caps={caps} ! videoconvert ! "
        f"video/x-raw,format=I420 ! {ENCODERS[options.codec]} name=pay0 pt={26 if options.codec == 'mjpeg' else 96} )"
    )
    factory.set_shared(True)
    camera = Camera(size_hw=(height, width), fps=options.fps)
    factory.connect("media-configure", camera.watch)
    server.get_mount_points().add_factory("/stream", factory)
    if server.attach(None) == 0:
        sys.stderr.write(f"port {options.port} is taken\n")
        return 1
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    GLib.MainLoop().run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
