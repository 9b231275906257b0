"""Images of a request: looked at before they are decoded, and decoded into pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cvforge_edge.errors import ImageError
from cvforge_edge.image_io import decode_image
from cvforge_edge.records import dataclass
from cvforge_server.errors import Code, RequestError
from cvforge_server.image_header import read_header

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

BYTES_PER_MB = 1_000_000
PIXELS_PER_MEGAPIXEL = 1_000_000
LARGEST_ANSWER_MB = 1000.0
"""What a server may be told to take for the limit of an answer."""
LARGEST_IMAGES = 4
"""All images of a request together have at most as many pixels as so many images of the largest size: decoding takes its time,
and a worker that is busy for too long is ended."""
LONGEST_NAME = 1000
"""Letters of the name of an image: it comes back in the answer, and has a right to a place there."""


@dataclass(frozen=True)
class Limits:
    """What a server takes on.

    Attributes:
        images: in one request.
        image_mb: of one encoded image, in MB of 10^6 bytes.
        megapixels: of one image, as its header says.
        answer_mb: of the answer to one request as it is sent, in MB of 10^6 bytes; an image with which it would be larger is
            refused.
    """

    images: int = 16
    image_mb: float = 20.0
    megapixels: float = 50.0
    answer_mb: float = 50.0

    def check_count(self, count: int) -> None:
        """Raise a `RequestError` for more images than a request may have."""
        if count > self.images:
            raise RequestError(
                Code.TOO_MANY_IMAGES, f"the request has {count} images, accepted {self.images}; send several requests"
            )


class PixelBudget:
    """How many pixels the images of one request may still have.

    Args:
        limits: of the server.
    """

    def __init__(self, limits: Limits) -> None:
        self._megapixels = LARGEST_IMAGES * limits.megapixels
        self._left = round(self._megapixels * PIXELS_PER_MEGAPIXEL)

    def take(self, pixels: int) -> None:
        """Note that an image with so many pixels is decoded.

        Raises:
            RequestError: the request has more than its share with it.
        """
        if pixels > self._left:
            raise RequestError(
                Code.TOO_LARGE,
                f"with this image those of the request have more than {self._megapixels:g} megapixels together; send fewer in a "
                "request, or smaller ones",
            )
        self._left -= pixels


@dataclass(frozen=True)
class Upload:
    """One image as the client sent it.

    Attributes:
        name: what the client calls it, or its number in the request, from 0.
        data: content of an image file; or why the client's text does not stand for any.
    """

    name: str
    data: bytes | RequestError


def check_name(name: str, *, key: str) -> None:
    """Raise a `RequestError` for a name that is too long to be repeated; `key` says whose it is."""
    if len(name) > LONGEST_NAME:
        raise RequestError(Code.MALFORMED, f"{key}: found {len(name)} letters, accepted {LONGEST_NAME}")


def decode_upload(upload: Upload, limits: Limits, budget: PixelBudget | None = None) -> npt.NDArray[np.uint8]:
    """The pixels of an upload as (h, w, 3) uint8 BGR, as `cvforge_edge.image_io.decode_image` reads a file.

    Args:
        upload: of a client.
        limits: what is taken on.
        budget: of its request; None where the image is decoded once more.

    Raises:
        RequestError: empty, too large, neither JPEG, PNG nor WebP, or damaged.
    """
    data = upload.data
    if isinstance(data, RequestError):
        raise data
    if not data:
        raise RequestError(Code.EMPTY, "the image is empty; send the content of a JPEG, PNG or WebP file")
    if len(data) > round(limits.image_mb * BYTES_PER_MB):
        raise RequestError(
            Code.TOO_LARGE, f"the image has {len(data)} bytes, accepted {limits.image_mb:g} MB; send a smaller one"
        )
    header = read_header(data)
    if header is None:
        raise RequestError(
            Code.NOT_AN_IMAGE, f"found {_first_bytes(data)}, accepted the content of a JPEG, PNG or WebP file"
        )
    if header.width * header.height > round(limits.megapixels * PIXELS_PER_MEGAPIXEL):
        raise RequestError(
            Code.TOO_LARGE,
            f"the image has {header.width} x {header.height} pixels, accepted {limits.megapixels:g} megapixels; "
            "send a smaller one",
        )
    if budget is not None:
        budget.take(header.width * header.height)
    try:
        return decode_image(data, name="the image")
    except ImageError as error:
        raise RequestError(Code.DAMAGED_IMAGE, str(error)) from None


def _first_bytes(data: bytes) -> str:
    shown = data[:12].hex(" ")
    return f"{len(data)} bytes that begin with {shown}"
