"""A server that can be killed, a wire that can be cut, and pictures that say when they were made: the parts of RTSP tests."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import subprocess
import threading
from pathlib import Path
from typing import Any

import numpy as np

SYSTEM_PYTHON = Path("/usr/bin/python3")
SERVER = Path(__file__).with_name("rtsp_server.py")
NEEDED = "gi.require_version('GstRtspServer', '1.0'); from gi.repository import Gst, GstRtspServer; Gst.init(None)"
PLUGINS = {"h264": ("x264enc", "rtph264pay"), "h265": ("x265enc", "rtph265pay"), "mjpeg": ("jpegenc", "rtpjpegpay")}
INSTALL = "apt-get install python3-gi gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-{base,good,bad,ugly}"
CLOCK_BITS, BITS_A_ROW, SQUARE = 48, 16, 16
GREY_LIMIT = 128
CHUNK_BYTES = 65536


def missing_parts(codecs: tuple[str, ...] = ("h264", "mjpeg")) -> str | None:
    """Why this machine cannot serve RTSP with these codecs; None where it can."""
    if not SYSTEM_PYTHON.exists():
        return f"{SYSTEM_PYTHON} is not there"
    names = [plugin for codec in codecs for plugin in PLUGINS[codec]]
    script = f"import gi; {NEEDED}; print(*[n for n in {names} if Gst.ElementFactory.find(n) is None])"
    try:
        run = subprocess.run(
            [SYSTEM_PYTHON, "-c", script],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env=_plain_environment(),
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    if run.returncode != 0:
        return f"no RTSP server here ({INSTALL})"
    return f"no {run.stdout.strip()} here ({INSTALL})" if run.stdout.strip() else None


def free_port() -> int:
    """A port on loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def shown_clock_s(image_bgr: np.ndarray) -> float:
    """`time.monotonic()` of the moment when the server made a picture, read from the picture."""
    value = 0
    for bit in range(CLOCK_BITS):
        row, column = divmod(bit, BITS_A_ROW)
        grey = image_bgr[row * SQUARE + SQUARE // 2, column * SQUARE + SQUARE // 2, 1]
        value = value << 1 | int(grey > GREY_LIMIT)
    return value / 1e6


class RtspServer:
    """`rtsp_server.py` in a process of its own."""

    def __init__(self, port: int, *, codec: str = "h264", size: str = "640x480", fps: int = 15) -> None:
        """Start it, and wait until it listens."""
        command = [SYSTEM_PYTHON, str(SERVER), "--port", str(port), "--codec", codec, "--size", size, "--fps", str(fps)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=_plain_environment())
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if line != "ready\n":
            self.kill()
            raise RuntimeError(f"the RTSP server said {line!r}")

    def kill(self) -> None:
        """End it as a power cut would; may be called twice."""
        self._process.kill()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()


class Wire:
    """A TCP connection to a server through loopback that can be cut: bytes wait, connections stay, nobody is told.

    That is what dropped packets look like to both ends: TCP sends them again once the wire is whole.
    """

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._whole = threading.Event()
        self._whole.set()
        self._closed = False
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def cut(self) -> None:
        """From now on nothing passes."""
        self._whole.clear()

    def mend(self) -> None:
        """What was sent meanwhile arrives, and everything passes."""
        self._whole.set()

    def close(self) -> None:
        """No further connection; those that are there end."""
        self._closed = True
        self._whole.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def _accept(self) -> None:
        while not self._closed:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._pass, args=(client,), daemon=True).start()

    def _pass(self, client: socket.socket) -> None:
        self._whole.wait()
        with client, contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self._server_port)) as server:
            other = {client: server, server: client}
            while not self._closed:
                ready, _, _ = select.select(list(other), [], [], 0.1)
                self._whole.wait()
                for end in ready:
                    data = end.recv(CHUNK_BYTES)
                    if not data:
                        return
                    other[end].sendall(data)


def _plain_environment() -> dict[str, Any]:
    """The system's Python must not see the packages of a virtual environment."""
    return {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")}
