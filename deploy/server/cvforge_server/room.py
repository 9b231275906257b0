"""How much room an answer has for what is said about one image: servers end a connection, or a worker, over a larger one."""

from __future__ import annotations

import math

from cvforge_server.errors import Code, RequestError
from cvforge_server.images import LARGEST_ANSWER_MB


class Room:
    """Bytes that an answer has left for one image.

    Args:
        num_bytes: that are left.
        answer_mb: of the whole answer, in MB of 10^6 bytes, for the message.
    """

    def __init__(self, num_bytes: float, *, answer_mb: float) -> None:
        self._num_bytes, self._answer_mb = num_bytes, answer_mb
        self._taken = 0

    def take(self, num_bytes: int) -> None:
        """Note that a part of it will have so many bytes at least; called before the part is written.

        Raises:
            RequestError: there is not so much room.
        """
        self._taken += num_bytes
        self.check(self._taken)

    def check(self, num_bytes: int) -> None:
        """Raise a `RequestError` where there is no room for all of it."""
        if num_bytes > self._num_bytes:
            raise _no_room(num_bytes, max(0, int(self._num_bytes)), answer_mb=self._answer_mb)


def _no_room(num_bytes: int, left: int, *, answer_mb: float) -> RequestError:
    return RequestError(
        Code.ANSWER_TOO_LARGE,
        f"the answer to this image has {num_bytes} bytes or more; accepted {left}, of {answer_mb:g} MB for the whole "
        "answer; send fewer images in a request, or smaller ones, without annotated, or with masks as png",
    )


UNLIMITED = Room(math.inf, answer_mb=math.inf)
"""Of what is not sent."""
NO_ROOM = _no_room(2**63, 2**63, answer_mb=LARGEST_ANSWER_MB / 3)
"""As long as any message of this kind."""
