"""One image file of millions: what is wrong with it is found before it costs memory or time."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from cvforge_edge.errors import ImageError
from cvforge_edge.image_io import decode_image
from cvforge_server.bulk.schema import Status
from cvforge_server.image_header import read_header
from cvforge_server.images import BYTES_PER_MB, PIXELS_PER_MEGAPIXEL

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

MOST_MB = 1000


class NoPredictionError(Exception):
    """An image has no prediction.

    Args:
        status: why, for programs.
        message: why, for people.
    """

    def __init__(self, status: Status, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


def open_image(path: str, *, max_megapixels: float) -> npt.NDArray[np.uint8]:
    """The pixels of an image file as (h, w, 3) uint8 BGR, as `cvforge_edge.image_io.read_image` gives them.

    Args:
        path: of the file.
        max_megapixels: of JPEG, PNG and WebP, as the header says.

    Raises:
        NoPredictionError: missing, unreadable, not a plain file, empty, too large, damaged or not an image.
    """
    data = _content(path)
    if not data:
        raise NoPredictionError(Status.EMPTY, f"{path}: the file is empty; copy or download it again")
    header = read_header(data)
    if header is not None and header.width * header.height > round(max_megapixels * PIXELS_PER_MEGAPIXEL):
        raise NoPredictionError(
            Status.TOO_LARGE,
            f"{path}: the image has {header.width} x {header.height} pixels, accepted {max_megapixels:g} megapixels "
            "(--max-megapixels)",
        )
    try:
        return decode_image(data, name=path)
    except ImageError as error:
        raise NoPredictionError(Status.DAMAGED_IMAGE, str(error)) from None


def _content(path: str) -> bytes:
    try:
        # A pipe without a writer would keep a worker waiting for ever, hence O_NONBLOCK.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise NoPredictionError(Status.UNREADABLE, f"{path}: no such image file") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL inside the name
        reason = getattr(error, "strerror", None) or error
        raise NoPredictionError(Status.UNREADABLE, f"{path}: cannot be read ({reason})") from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise NoPredictionError(Status.UNREADABLE, f"{path}: is not a plain file")
        if status.st_size > MOST_MB * BYTES_PER_MB:
            size_mb = status.st_size / BYTES_PER_MB
            raise NoPredictionError(Status.TOO_LARGE, f"{path}: the file has {size_mb:.0f} MB, accepted {MOST_MB} MB")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read()
    except OSError as error:
        raise NoPredictionError(Status.UNREADABLE, f"{path}: cannot be read ({error.strerror})") from None
    finally:
        os.close(descriptor)
