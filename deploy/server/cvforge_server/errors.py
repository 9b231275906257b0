"""What a client is told when something cannot be answered: a status, a code that programs can read, and a sentence."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from cvforge_edge.errors import EdgeError

if TYPE_CHECKING:
    from cvforge_server.kserve import Envelope


class Code(str, Enum):
    """Why a request, or one of its images, was not answered; the name is stable, its sentence is not."""

    EMPTY = "empty"
    MALFORMED = "malformed"
    UNKNOWN_OPTION = "unknown_option"
    BAD_OPTION = "bad_option"
    TOO_MANY_IMAGES = "too_many_images"
    TOO_LARGE = "too_large"
    ANSWER_TOO_LARGE = "answer_too_large"
    NOT_AN_IMAGE = "not_an_image"
    DAMAGED_IMAGE = "damaged_image"
    INFERENCE_FAILED = "inference_failed"


STATUS = {
    Code.EMPTY: 400,
    Code.MALFORMED: 400,
    Code.UNKNOWN_OPTION: 400,
    Code.BAD_OPTION: 400,
    Code.TOO_MANY_IMAGES: 413,
    Code.TOO_LARGE: 413,
    Code.ANSWER_TOO_LARGE: 413,
    Code.NOT_AN_IMAGE: 415,
    Code.DAMAGED_IMAGE: 422,
    Code.INFERENCE_FAILED: 500,
}
"""HTTP status by code. Only the last is the server's fault, and the only one that is worth a second try."""

PHRASE = {
    400: "Bad Request",
    413: "Content Too Large",
    415: "Unsupported Media Type",
    422: "Unprocessable Content",
    500: "Internal Server Error",
}


LONGEST_MESSAGE = 2000
"""Letters: a message may repeat what a client sent, and not megabytes of it."""


class RequestError(Exception):
    """A request, or one of its images, cannot be answered.

    Args:
        code: why.
        message: what was found, what is accepted and what to do; goes to the client, so it names no path of the server;
            what is beyond `LONGEST_MESSAGE` is left out.

    Attributes:
        envelope: of a request that came by the open inference protocol, and is to be refused in its form.
    """

    def __init__(self, code: Code, message: str) -> None:
        message = message if len(message) <= LONGEST_MESSAGE else message[: LONGEST_MESSAGE - 3] + "..."
        super().__init__(message)
        self.code, self.message = code, message
        self.envelope: Envelope | None = None

    @property
    def status(self) -> int:
        """The HTTP status."""
        return STATUS[self.code]

    def without_frames(self) -> RequestError:
        """The same to keep: the frames that it was raised in hold pictures, and whoever keeps it."""
        self.__context__ = self.__cause__ = None
        return self.with_traceback(None)

    def to_value(self) -> dict[str, str]:
        """The `error` of an answer."""
        return {"code": self.code.value, "message": self.message}


class ServerError(EdgeError):
    """A server cannot be started or reached, or is not ready."""

    exit_code = 14
