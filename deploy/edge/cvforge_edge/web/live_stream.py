"""Pictures of a camera one after the other in one answer: Motion JPEG, as browsers and video players read it."""

from __future__ import annotations

import time
from collections.abc import Callable

from cvforge_edge.web.pictures import Picture, Pictures

BOUNDARY = "picture"
STREAM_TYPE = f"multipart/x-mixed-replace; boundary={BOUNDARY}"
NEXT_PICTURE_WITHIN_S = 2.0
"""How long a client waits for a picture without a sign; a browser has six connections for a server, so none may wait long."""


class LiveStream:
    """The parts of the answer: each is the newest picture at the moment when the client has taken the one before.

    Args:
        pictures: of the camera.
        on_close: called once when the client has left.
    """

    def __init__(self, pictures: Pictures, *, on_close: Callable[[], None]) -> None:
        self._pictures, self._on_close = pictures, on_close
        self._number: int | None = None
        self._begun = False

    def __iter__(self) -> LiveStream:
        return self

    def __next__(self) -> bytes:
        if self._pictures.closed:
            raise StopIteration
        if not self._begun:
            self._begun = True
            return f"--{BOUNDARY}\r\n".encode()
        picture = self._pictures.newest(after=self._number, timeout_s=NEXT_PICTURE_WITHIN_S)
        if picture is None:
            return b""
        self._number = picture.number
        return _part(picture)

    def close(self) -> None:
        """The client has left."""
        self._on_close()


def picture_headers(picture: Picture) -> tuple[tuple[str, str], ...]:
    """What is told about a picture: its number, and its age in milliseconds at the moment of sending."""
    age_ms = max(0.0, time.monotonic() - picture.captured_s) * 1000
    return ("X-Picture-Number", str(picture.number)), ("X-Picture-Age-Ms", f"{age_ms:.0f}")


def _part(picture: Picture) -> bytes:
    """One picture, with the boundary that ends it: a viewer shows it without waiting for the next."""
    headers = "".join(f"{name}: {value}\r\n" for name, value in picture_headers(picture))
    head = f"Content-Type: image/jpeg\r\nContent-Length: {len(picture.jpeg)}\r\n{headers}\r\n"
    return head.encode() + picture.jpeg + f"\r\n--{BOUNDARY}\r\n".encode()
