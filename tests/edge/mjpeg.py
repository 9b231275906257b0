"""A network camera on loopback: Motion JPEG over HTTP."""

from __future__ import annotations

import functools
import http.server
import threading

import cv2
import numpy as np

GREY = np.full((48, 64, 3), 120, np.uint8)


class MjpegHandler(http.server.BaseHTTPRequestHandler):
    """Motion JPEG over HTTP, as cheap network cameras send it."""

    def __init__(self, camera: MjpegServer, frames: int, *arguments) -> None:
        self.camera, self.server_stop, self.frames = camera, camera.stop, frames
        super().__init__(*arguments)

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        try:
            for _ in range(self.frames):
                data = cv2.imencode(".jpg", self.camera.image_bgr)[1].tobytes()
                head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n".encode()
                self.wfile.write(head + data + b"\r\n")
                if self.server_stop.wait(0.02):
                    return
            self.server_stop.wait()  # connected, and silent
        except OSError:
            return

    def log_message(self, *arguments) -> None:
        pass


class MjpegServer:
    """A server that can be stopped and started on the same port; after so many frames a connection falls silent."""

    def __init__(self, port: int = 0, *, frames: int = 1_000_000, image_bgr: np.ndarray = GREY) -> None:
        self.stop, self.image_bgr = threading.Event(), image_bgr
        handler = functools.partial(MjpegHandler, self, frames)
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", port), handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self.thread.start()

    def close(self) -> None:
        self.stop.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()
