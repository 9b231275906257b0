"""What a server sends back: the answer to one request, written image by image and not beyond its limit."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from cvforge_edge.records import dataclass
from cvforge_server.errors import PHRASE, RequestError
from cvforge_server.images import BYTES_PER_MB
from cvforge_server.json_text import json_bytes, quoted, separated
from cvforge_server.kserve import LENGTH, LENGTH_HEADER, Envelope, in_form
from cvforge_server.room import Room

BETWEEN_BYTES = LENGTH.size
"""Two images have as much between them at most: the length of an element, or a comma and a space."""
FRAME_SPARE_BYTES = 64
"""Digits of sizes that are known in the end."""
LONGEST_TIMES_MS = dict.fromkeys(("decode", "network", "finish"), 1e9)


@dataclass(frozen=True)
class Reply:
    """The answer to one request.

    Attributes:
        status: of HTTP.
        text: what the body says in JSON, in the form of the request: ours, or that of the open inference protocol.
        times_ms: how long its stages took: `decode` of its images with their preparation, `network` of all requests that were
            gathered with it, `finish` until the answer stood.
        objects: in all of its images.
        tail: binary tensors, which follow the JSON where the client asked for that.
        images: in the request.
        codes: of each image `ok`, or why it was not answered; of a request that was refused, of that alone.
    """

    status: int
    text: bytes
    times_ms: dict[str, float]
    objects: int = 0
    tail: bytes = b""
    images: int = 0
    codes: tuple[str, ...] = ()

    @property
    def phrase(self) -> str:
        """What HTTP says beside the status."""
        return PHRASE.get(self.status, "")

    @property
    def content_type(self) -> str:
        """Of the body."""
        return "application/octet-stream" if self.tail else "application/json"

    @property
    def headers(self) -> dict[str, str]:
        """Of HTTP, beside the content type."""
        return {LENGTH_HEADER: str(len(self.text))} if self.tail else {}

    @property
    def body(self) -> bytes:
        """JSON in UTF-8, and the tail."""
        return self.text + self.tail

    @property
    def value(self) -> Any:
        """What the JSON says."""
        return json.loads(self.text)


class ReplyWriter:
    """Writes the answer to one request; it holds what is said about images as the bytes that are sent, and only so.

    Args:
        head: `request_id` and `model`.
        envelope: of the request; None for our own form.
        answer_mb: the largest answer, in MB of 10^6 bytes.
        refusals: what would be said about each image at least; there is always room for that.
    """

    def __init__(
        self,
        head: Mapping[str, Any],
        *,
        envelope: Envelope | None,
        answer_mb: float,
        refusals: Sequence[Mapping[str, Any]],
    ) -> None:
        self._head, self._envelope, self._answer_mb = head, envelope, answer_mb
        self._rows: list[bytes] = []
        self._reserves = [len(self.row(refusal)) + BETWEEN_BYTES for refusal in refusals]
        frame = sum(map(len, self.written(LONGEST_TIMES_MS, problem=None)))
        self._left = round(answer_mb * BYTES_PER_MB) - frame - FRAME_SPARE_BYTES - sum(self._reserves)

    def row(self, result: Mapping[str, Any]) -> bytes:
        """What is said about one image, as it is sent.

        Raises:
            ValueError: it has a number that JSON has not.
        """
        data = json_bytes(result)
        return data if self._envelope is None or self._envelope.binary else quoted(data)

    @property
    def room(self) -> Room:
        """For the next image."""
        reserve = self._reserves[len(self._rows)]
        return Room(self._left + reserve - BETWEEN_BYTES, answer_mb=self._answer_mb)

    def add(self, row: bytes) -> None:
        """What is said about the next image."""
        self._left += self._reserves[len(self._rows)] - BETWEEN_BYTES - len(row)
        self._rows.append(row)

    def written(self, times_ms: Mapping[str, float], *, problem: RequestError | None) -> tuple[bytes, bytes]:
        """The JSON and what follows it.

        Args:
            times_ms: of its stages.
            problem: the gravest of the images where none could be answered; otherwise None.
        """
        if self._envelope is not None:
            answer = {**self._head, "times_ms": times_ms}
            return in_form(answer, self._rows, problem=problem, envelope=self._envelope)
        begin, end = json_bytes(self._head)[:-1], json_bytes({"times_ms": times_ms})[1:]
        return b"".join((begin, b', "results": [', *separated(self._rows), b"], ", end)), b""


def refused(head: Mapping[str, Any], problem: RequestError) -> Reply:
    """The reply to a request that is refused as a whole.

    Args:
        head: `request_id` and `model`.
        problem: why, with the envelope of the request.
    """
    error, tail = problem.to_value(), b""
    text = json_bytes({**head, "error": error})
    if problem.envelope is not None:
        text, tail = in_form(head, None, problem=problem, envelope=problem.envelope)
    return Reply(problem.status, text, {}, tail=tail, codes=(problem.code.value,))
